"""The only package that imports torch, diffusers, transformers and peft: it loads and runs what a plan describes."""

from __future__ import annotations

import os

# The libraries read these when they are imported. This package itself checks and reports what a user must know.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
