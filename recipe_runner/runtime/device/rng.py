"""Keep the state of the global random generators; a seeded image never depends on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from recipe_runner.problems.problem import OperationFailed


@contextmanager
def global_rng_kept(device: torch.device, *, seed: int | None = None, refuse: bool = False) -> Iterator[None]:
    """Run a block, then restore the state of torch's global generators (CPU and `device`).

    Args:
        device: the device whose generator is restored, in addition to the CPU's.
        seed: the seed of both for the block, so that noise drawn from them follows the image's seed.
        refuse: raise if the block drew from them.

    Raises:
        OperationFailed: E708, when `refuse` and the block drew from a global generator.
    """
    before = _states(device)
    if seed is not None:
        torch.manual_seed(seed)
    seeded = _states(device)
    try:
        yield
        drawn = not all(map(torch.equal, seeded, _states(device)))
    finally:
        torch.set_rng_state(before[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(before[1], device)
    if refuse and drawn:
        raise OperationFailed.of(
            "E708",
            "the pipeline drew noise from torch's global generator, which does not depend on the image's seed",
            "use another scheduler (or its deterministic setting), or runtime.reproducibility: seeded",
        )


def _states(device: torch.device) -> tuple[torch.Tensor, ...]:
    if device.type == "cuda":
        return torch.get_rng_state(), torch.cuda.get_rng_state(device)
    return (torch.get_rng_state(),)
