"""What differs between two recipes, locks or runs, by meaning. `recipe_runner.report` shows it."""
