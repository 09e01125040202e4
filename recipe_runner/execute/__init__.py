"""Executors of build graphs; what an operation does is passed in."""
