"""The recipe language, format 1: types, schema and rules. Needs no torch, no network, no files but the recipe."""
