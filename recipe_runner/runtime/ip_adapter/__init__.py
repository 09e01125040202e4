"""IP-Adapters on a live pipeline."""
