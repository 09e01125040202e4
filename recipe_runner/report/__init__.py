"""Output for people and programs: problems, plans, progress, differences, reports."""
