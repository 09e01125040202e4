"""What files show before a GPU is touched."""
