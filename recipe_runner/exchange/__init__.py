"""To and from what other programs write: one small file a format.

Readers turn a foreign text into a `Generation` and say what they lose; `recipe_text` writes that as a recipe. Writers
turn a plan into a script, a graph or a text of another program, and say what that cannot express.
"""
