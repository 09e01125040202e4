"""What a run leaves: its folder, journal, manifest and pictures, and the store of images that runs share."""
