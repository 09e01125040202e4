"""Model families, identified by the names and shapes of tensors."""
