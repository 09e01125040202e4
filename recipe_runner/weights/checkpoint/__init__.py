"""Single-file checkpoints."""
