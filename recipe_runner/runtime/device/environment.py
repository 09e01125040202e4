"""What the images were made with: versions, device, threads, switches; and keeping third-party chatter quiet."""

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
"""Distributions that can change a pixel. torchvision decides which image processor transformers uses; the last six find
faces."""


def describe_environment(device: torch.device, level: Level, threads: int | None = None) -> Mapping[str, Json]:
    """Everything about this machine and process that may change an image's bits; no host name, no path, no time."""
    with reproducible(level, threads):
        switches: Mapping[str, Json] = {
            **read_switches(),
            "attention_backend": os.environ.get("DIFFUSERS_ATTN_BACKEND", "native"),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            # Read by CUDA only, and set for the whole process by whichever run came first.
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
        # None, whatever its type says, where the package's metadata cannot be read.
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
    """Hold back progress bars, log lines and warnings of the libraries while a block runs.

    What a user must know of them is checked, and said, by this package itself.
    """
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers", "peft", "accelerate")]
    heard = [(logger.handlers, logger.propagate) for logger in loggers]
    bars = diffusers.utils.logging.is_progress_bar_enabled(), transformers.utils.logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                # A change of level would empty what every logger of the process remembers, at a cost of milliseconds.
                logger.handlers, logger.propagate = [_NOWHERE], False
            diffusers.utils.logging.disable_progress_bar()
            transformers.utils.logging.disable_progress_bar()
            yield
        finally:
            for logger, (handlers, propagate) in zip(loggers, heard, strict=True):
                logger.handlers, logger.propagate = handlers, propagate
            if bars[0]:
                diffusers.utils.logging.enable_progress_bar()
            if bars[1]:
                transformers.utils.logging.enable_progress_bar()
