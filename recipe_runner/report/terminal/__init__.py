"""What is printed on a terminal: problems and progress."""
