"""torch's switches that determine whether equal inputs give equal bits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from recipe_runner.problems.problem import OperationFailed

Level = Literal["strict", "seeded", "fast"]

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")
"""Values with which cuBLAS uses one order of summation (CUDA documentation, "Results reproducibility")."""

_Switch = tuple[str, Callable[[], Any], Callable[[Any], None], Any, Any]


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _switches() -> tuple[_Switch, ...]:
    # name, getter, setter, value at level strict, value at the other levels (torch's own defaults).
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    return (
        (
            "deterministic_algorithms",
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
            True,
            False,
        ),
        # With deterministic algorithms torch fills new memory with NaN by default, which helps to find bugs of kernels
        # and takes a twentieth of the time of a small image.
        ("fill_uninitialized_memory", *_attribute(torch.utils.deterministic, "fill_uninitialized_memory"), False, True),
        ("cudnn_deterministic", *_attribute(cudnn, "deterministic"), True, False),
        ("cudnn_benchmark", *_attribute(cudnn, "benchmark"), False, False),
        ("matmul_precision", *_attribute(matmul, "fp32_precision"), "ieee", "none"),
        # torch uses TF32 for convolutions by default, and diffusers' own helper does not switch it off.
        ("convolution_precision", *_attribute(cudnn.conv, "fp32_precision"), "ieee", "tf32"),
        ("fp16_reduced_reduction", *_attribute(matmul, "allow_fp16_reduced_precision_reduction"), False, True),
        ("bf16_reduced_reduction", *_attribute(matmul, "allow_bf16_reduced_precision_reduction"), False, True),
    )


def prepare_cuda(level: Level) -> None:
    """Set cuBLAS's workspace for level strict. cuBLAS reads it when CUDA starts, so call this before using a device.

    Raises:
        OperationFailed: E702, when CUDA has already started without it and the level is strict.
    """
    if level != "strict" or os.environ.get(WORKSPACE) in WORKSPACES:
        return
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise OperationFailed.of(
            "E702",
            f"CUDA started without {WORKSPACE}, which level strict requires",
            f"set the environment variable {WORKSPACE}={WORKSPACES[0]} before the program starts",
        )
    os.environ[WORKSPACE] = WORKSPACES[0]


@contextmanager
def reproducible(level: Level, threads: int | None = None) -> Iterator[None]:
    """Run a block with the switches of `level` and `threads` CPU threads, then restore the earlier values.

    Every level sets every switch, so that the level of one run does not affect the next run of the process.
    """
    switches = _switches()
    before = read_switches()
    threads_before = torch.get_num_threads()
    try:
        for _, read, write, strict, other in switches:
            wanted = strict if level == "strict" else other
            if read() != wanted:
                write(wanted)
        if threads is not None and threads != threads_before:
            torch.set_num_threads(threads)
        yield
    finally:
        for name, read, write, *_ in switches:
            if read() != before[name]:
                write(before[name])
        if torch.get_num_threads() != threads_before:
            torch.set_num_threads(threads_before)


def read_switches() -> dict[str, bool | str]:
    """The current values of the switches, by name."""
    return {name: read() for name, read, *_ in _switches()}
