"""The only package that imports torch, diffusers, transformers and peft: it makes model handles real."""

from __future__ import annotations

import os

# Read by these libraries when they are imported. What a user must know of their remarks is checked, and said, here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
