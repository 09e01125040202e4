"""Formats of weights files, and what a file contains according to its header."""
