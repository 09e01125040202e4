"""Model families, told by the names and shapes of tensors."""
