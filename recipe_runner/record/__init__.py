"""The record of a run: its folder, journal, manifest and images, and the image store that runs share."""
