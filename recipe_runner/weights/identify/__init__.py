"""What a weights file or folder is, told from headers and configurations alone."""
