"""The JSON Schemas: generated from the types, checked, and explained."""
