"""The device: which one, how it is set up, and what fails on it."""
