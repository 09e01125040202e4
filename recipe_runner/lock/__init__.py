"""The lock file: made, compared, checked, fetched."""
