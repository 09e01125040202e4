"""The only package that imports torch, diffusers, transformers and peft: it makes model handles real."""
