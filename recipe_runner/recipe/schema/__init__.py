"""The JSON Schemas: generate them from the types, check documents, and explain the errors."""
