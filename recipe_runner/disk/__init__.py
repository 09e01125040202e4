"""Files on disk: written whole or not at all, and locks between processes. The only door through which we write."""
