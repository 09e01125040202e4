"""The build graph and its executor. Knows nothing of diffusion."""
