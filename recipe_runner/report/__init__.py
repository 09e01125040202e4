"""What people read: problems, plans, progress, reports."""
