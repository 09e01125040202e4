"""The Hugging Face Hub: its client, its cache, and repositories at one commit."""
