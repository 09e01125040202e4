"""Choose the device to run on."""

from __future__ import annotations

import torch

from recipe_runner.problems.problem import OperationFailed


def present_devices() -> tuple[str, ...]:
    """The devices of this machine, best first: `cuda:0`, `cuda:1`, …, `cpu`."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return (*cuda, "cpu")


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        OperationFailed: E701, when this machine does not have the device.
    """
    present = present_devices()
    name = {"auto": present[0], "cuda": "cuda:0"}.get(wanted, wanted)
    if name not in present:
        raise OperationFailed.of(
            "E701",
            f"there is no device `{wanted}`; this machine has {', '.join(present)}",
            "set runtime.device to one of these, or to auto",
        )
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """The product name of a CUDA device, or the CPU's instruction set that torch uses."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"
