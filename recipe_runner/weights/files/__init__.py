"""File formats: what a file holds, from its header."""
