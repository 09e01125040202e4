"""An image file by itself: encoded, read, labelled, compared."""
