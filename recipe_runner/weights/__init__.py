"""What a weights file is, from its first bytes and its header alone. Nothing here reads a tensor or imports torch."""
