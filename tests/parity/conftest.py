"""Fixtures of the parity tests: tiny real pipelines on disk, one thread."""

from __future__ import annotations

from support.tiny import _one_thread, flux_folder, sd3_folder, sd15_folder, sdxl_folder

__all__ = ["_one_thread", "flux_folder", "sd3_folder", "sd15_folder", "sdxl_folder"]
