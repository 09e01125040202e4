"""The command line: one module per command; `main` handles all errors and exit statuses."""
