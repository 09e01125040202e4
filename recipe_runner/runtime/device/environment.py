"""Describe the environment of a run (versions, device, threads, switches), and silence third-party libraries."""

from __future__ import annotations

import logging
import os
import platform
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import diffusers
import torch
import transformers

from recipe_runner.canonical import Json
from recipe_runner.runtime.device.determinism import WORKSPACE, Level, read_switches, reproducible
from recipe_runner.runtime.device.devices import device_name

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "safetensors",
    "tokenizers",
    "numpy",
    "pillow",
    "torchvision",
    "torchsde",
    "insightface",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python",
    "opencv-python-headless",
    "scikit-image",
)
"""Distributions that can change a pixel. With torchvision, transformers uses another image processor; the last six find
faces."""


def describe_environment(device: torch.device, level: Level, threads: int | None = None) -> Mapping[str, Json]:
    """Everything about this machine and process that can change an image's bits; no host name, path or time."""
    with reproducible(level, threads):
        switches: Mapping[str, Json] = {
            **read_switches(),
            "attention_backend": os.environ.get("DIFFUSERS_ATTN_BACKEND", "native"),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            # Only CUDA reads it, and the first run sets it for the whole process.
            "cublas_workspace": os.environ.get(WORKSPACE) if device.type == "cuda" else None,
            "image_processor": "torchvision" if transformers.utils.is_torchvision_available() else "pillow",
            "mkldnn": _mkldnn(),
            "threads": torch.get_num_threads(),
        }
    return {
        "versions": _versions(device),
        "device": device_name(device),
        "reproducibility": level,
        "determinism": dict(sorted(switches.items())),
    }


def _versions(device: torch.device) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            known = version(package)
        except PackageNotFoundError:
            continue
        # Despite its type, it is None if the package's metadata cannot be read.
        if known:
            found[package] = known
    if device.type == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return dict(sorted(found.items()))


def _mkldnn() -> bool:
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)  # type: ignore[no-untyped-call]


_NOWHERE = logging.NullHandler()


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress progress bars, log lines and warnings of the libraries while a block runs.

    This package itself checks and reports what a user must know of them.
    """
    loggers = list(map(logging.getLogger, ("diffusers", "transformers", "peft", "accelerate")))
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    bars = diffusers.utils.logging.is_progress_bar_enabled(), transformers.utils.logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                # Changing the level would clear the caches of all loggers of the process, which takes milliseconds.
                logger.handlers, logger.propagate = [_NOWHERE], False
            diffusers.utils.logging.disable_progress_bar()
            transformers.utils.logging.disable_progress_bar()
            yield
        finally:
            for logger, (handlers, propagate) in zip(loggers, before, strict=True):
                logger.handlers, logger.propagate = handlers, propagate
            if bars[0]:
                diffusers.utils.logging.enable_progress_bar()
            if bars[1]:
                transformers.utils.logging.enable_progress_bar()
