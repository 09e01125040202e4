"""Recipes and runs for other programs."""
