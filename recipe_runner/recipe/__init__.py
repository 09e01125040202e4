"""The recipe language, format 1: types, schema and rules. No torch, no network, no files but the recipe."""
