"""The switches of torch that decide whether equal inputs make equal bits."""

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
"""Values under which cuBLAS keeps to one summation order (CUDA documentation, "Results reproducibility")."""

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
        # With deterministic algorithms torch would fill all memory that it takes with NaN first: a help in finding bugs
        # of kernels, at a twentieth of the time of a small image.
        ("fill_uninitialized_memory", *_attribute(torch.utils.deterministic, "fill_uninitialized_memory"), False, True),
        ("cudnn_deterministic", *_attribute(cudnn, "deterministic"), True, False),
        ("cudnn_benchmark", *_attribute(cudnn, "benchmark"), False, False),
        ("matmul_precision", *_attribute(matmul, "fp32_precision"), "ieee", "none"),
        # torch leaves TF32 on for convolutions unless told otherwise; diffusers' own helper forgets it.
        ("convolution_precision", *_attribute(cudnn.conv, "fp32_precision"), "ieee", "tf32"),
        ("fp16_reduced_reduction", *_attribute(matmul, "allow_fp16_reduced_precision_reduction"), False, True),
        ("bf16_reduced_reduction", *_attribute(matmul, "allow_bf16_reduced_precision_reduction"), False, True),
    )


def prepare_cuda(level: Level) -> None:
    """Fix cuBLAS's workspace, which it reads when CUDA starts. Call before anything touches a CUDA device.

    Raises:
        OperationFailed: E702, when CUDA runs already without it and the level is strict.
    """
    if level != "strict" or os.environ.get(WORKSPACE) in WORKSPACES:
        return
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise OperationFailed.of(
            "E702",
            f"CUDA was started without {WORKSPACE}, so level strict cannot be kept",
            f"set the environment variable {WORKSPACE}={WORKSPACES[0]} before the program starts",
        )
    os.environ[WORKSPACE] = WORKSPACES[0]


@contextmanager
def reproducible(level: Level, threads: int | None = None) -> Iterator[None]:
    """Run a block under the switches of `level` and with `threads` CPU threads, then put back what was set before.

    Every switch is set at every level, so that one run's level never leaks into the next of the same process.
    """
    switches = _switches()
    before = [read() for _, read, *_ in switches]
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
        for (_, read, write, *_), value in zip(switches, before, strict=True):
            if read() != value:
                write(value)
        if torch.get_num_threads() != threads_before:
            torch.set_num_threads(threads_before)


def read_switches() -> dict[str, bool | str]:
    """The switches as they stand now, by name."""
    return {name: read() for name, read, *_ in _switches()}
