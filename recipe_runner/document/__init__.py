"""Text to a tree whose values know their places, and back."""
