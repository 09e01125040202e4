"""What a command and the Python interface do."""
