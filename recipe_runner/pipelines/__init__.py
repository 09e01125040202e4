"""What is known of diffusers' pipelines and of model families. Imports no library."""
