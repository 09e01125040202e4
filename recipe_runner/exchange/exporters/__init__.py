"""Export recipes and runs to other programs."""
