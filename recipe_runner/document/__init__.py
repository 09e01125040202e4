"""Read YAML text into a tree with the place of every value, and write it back."""
