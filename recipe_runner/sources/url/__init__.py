"""Files at https URLs: a cache, downloads and range requests."""
