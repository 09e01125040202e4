"""What opens in a browser: one file with its styles and scripts in it."""
