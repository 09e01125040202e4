"""Read every tensor of a weights file."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.formats import require_weights
from recipe_runner.weights.files.torch_file import INERT, read_torch_file

ALIGNMENT_BYTES = 64
"""Where torch's own memory for a tensor begins: at a multiple of this.

On a CPU a matrix product of one row takes another kernel, with other last bits, for a weight that is not aligned. 16
bytes are enough where that was measured (MKL on an AMD EPYC, float32); 64 is what MKL's manual asks for equal results.
"""


class _Inert(dict[Any, Any]):
    """Stands for whatever a training framework left beside the weights: it takes what it is given, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        """Let the state go."""


_FOREIGN = re.compile(r"(?:Unsupported (?:global|class)|Tried to instantiate class)\W+(?:GLOBAL )?([\w.]+)")
"""What of its long message torch's unpickler says it met, and would have run code for."""


def read_tensors(path: Path, *, allow_pickle: bool, copies: bool = True) -> dict[str, torch.Tensor]:
    """The tensors of the file at `path` by name, on the CPU.

    `copies` False leaves the tensors of a safetensors file mapped from it: they change when it is overwritten, and are
    not aligned. All others are.
    A pickled file is read with `weights_only`, so that nothing in it runs.

    Raises:
        WeightsError: E401, E406, E411, E412 when it may not be read; E607 when it is broken or holds other things.
    """
    if require_weights(path, allow_pickle=allow_pickle) == "safetensors":
        try:
            tensors = load_file(path)
            return {name: tensor.clone() for name, tensor in tensors.items()} if copies else tensors
        except (SafetensorError, OSError) as cause:
            raise WeightsError.of("E607", f"{path.name}: {cause}", "download or copy the file again") from cause
    tree = read_pickle(path)
    while isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        # Training frameworks put the weights beside the optimizer's state.
        tree = tree["state_dict"]
    if isinstance(tree, dict):
        # Numbers and texts beside the weights, such as a training step, say nothing that is applied. An alpha does.
        tree = {
            name: value
            for name, value in tree.items()
            if not isinstance(value, (str, int, float, type(None))) or str(name).endswith(".alpha")
        }
    if isinstance(tree, dict) and tree and all(isinstance(part, dict) for part in tree.values()):
        # IP-Adapters are pickled in two parts, whose names a safetensors file has as prefixes.
        tree = {f"{part}.{name}": value for part, inner in tree.items() for name, value in inner.items()}
    if isinstance(tree, list):
        # The first versions of cloneofsimo's trainer wrote the factors without any names.
        tree = {str(number): value for number, value in enumerate(tree)}
    if not isinstance(tree, dict):
        raise WeightsError.of(
            "E607", f"{path.name} holds a value of type {type(tree).__name__}, not a mapping of names to tensors"
        )
    for name, value in tree.items():
        if not isinstance(value, torch.Tensor):
            what = f"its {name!r:.80} is of type {type(value).__name__}"
            raise WeightsError.of("E607", f"{path.name} is not a mapping of names to tensors: {what}")
    return {str(name): _aligned(value) for name, value in tree.items()}


def align(*models: torch.nn.Module) -> None:
    """Copy what lies unaligned in the CPU's memory, so that bits do not depend on where in a file a parameter is.

    A loader leaves parameters mapped at whatever offset the file's header leaves. Those that are aligned stay mapped.
    To be called once models are on their device: what moves to another one is copied anyway.
    """
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.device.type == "cpu":
                tensor.data = _aligned(tensor.data)


def _aligned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT_BYTES else tensor


def require_finite(tensors: Mapping[str, torch.Tensor], label: str) -> None:
    """Refuse an adapter's tensors that would spoil every image. `label` names it in messages: `adapter style`.

    Raises:
        WeightsError: E625 a number is NaN or infinite.
    """
    # A sum is finite where every number is; in float64 it does not overflow for anything that a file of weights holds.
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.sum(dtype=torch.float64).isfinite()):
            hint = "the file is spoilt or its training failed: use another"
            raise WeightsError.of("E625", f"{label}: {name} has numbers that are not finite", hint)


def read_pickle(path: Path, classes: Sequence[Any] = ()) -> Any:
    """What the pickled file at `path` holds, which the caller allowed, read with `weights_only`: nothing in it runs.

    `classes` are taken beside what torch takes: containers of tensors that only hold what the file says.

    Raises:
        WeightsError: E607 when it is broken or holds other things.
    """
    try:
        beside = [(_Inert, name) for name in read_torch_file(path).names if INERT.fullmatch(name)]
        with torch.serialization.safe_globals([*classes, *beside]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError) as cause:
        said = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        if foreign := _FOREIGN.search(str(cause)):
            said = f"it holds a {foreign[1]}, which is no plain tensor"
        raise WeightsError.of("E607", f"{path.name} cannot be read with weights_only: {said}") from cause
