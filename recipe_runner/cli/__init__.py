"""The command line: one small file per command, and one door for errors and exit statuses."""
