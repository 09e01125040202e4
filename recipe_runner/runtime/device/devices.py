"""Which device to run on."""

from __future__ import annotations

import torch

from recipe_runner.problems.problem import OperationFailed


def present_devices() -> tuple[str, ...]:
    """The devices of this machine, best first: `cuda:0`, `cuda:1`, …, `cpu`."""
    return (*(f"cuda:{index}" for index in range(torch.cuda.device_count())), "cpu")


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        OperationFailed: E701, when this machine has no such device.
    """
    present = present_devices()
    name = present[0] if wanted == "auto" else "cuda:0" if wanted == "cuda" else wanted
    if name not in present:
        raise OperationFailed.of(
            "E701",
            f"there is no device `{wanted}`; this machine has {', '.join(present)}",
            "set runtime.device to one of these, or to auto",
        )
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """The maker's name of a CUDA device, the instruction set torch uses of the CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"
