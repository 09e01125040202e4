"""Recipes from the files of other programs."""
