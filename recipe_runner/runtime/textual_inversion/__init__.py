"""Learned tokens on a live pipeline."""
