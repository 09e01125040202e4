"""The frozen, strict types of a recipe. The JSON Schema in `schemas/` is generated from them."""
