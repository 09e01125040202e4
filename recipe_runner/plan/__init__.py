"""A recipe to what will be done: resolved, checked, compiled."""
