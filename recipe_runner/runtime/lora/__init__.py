"""LoRA and LyCORIS adapters on a live pipeline."""
