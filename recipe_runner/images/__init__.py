"""Image files: encode, read, label and compare them."""
