"""A base model from its files, strictly."""
