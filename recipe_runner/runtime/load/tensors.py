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

from recipe_runner.problems.problem import RecipeRunnerError, WeightsError
from recipe_runner.weights.files.formats import require_weights
from recipe_runner.weights.files.torch_file import INERT, read_torch_file
from recipe_runner.weights.modules import Shape

ALIGNMENT_BYTES = 64
"""torch allocates a tensor's memory at a multiple of this.

On a CPU the matrix product of one row uses another kernel, with other last bits, for a weight that is not aligned. 16
bytes were enough when measured (MKL on an AMD EPYC, float32); MKL's manual asks for 64 for equal results.
"""
_NOT_WEIGHTS = (str, int, float, type(None))


class _Inert(dict[Any, Any]):
    """Replaces an object that a training framework saved beside the weights: takes all arguments, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        """Ignore the state."""


_FOREIGN = re.compile(r"(?:Unsupported (?:global|class)|Tried to instantiate class)\W+(?:GLOBAL )?([\w.]+)")
"""Finds in the long message of torch's unpickler the name whose code it refused to run."""


def read_tensors(path: Path, *, allow_pickle: bool, copies: bool = True) -> dict[str, torch.Tensor]:
    """The tensors of the file at `path` by name, on the CPU.

    With `copies` False the tensors of a safetensors file stay mapped from it: they change when the file is overwritten,
    and may be unaligned. All others are aligned copies.
    A pickled file is read with `weights_only`, so that it cannot run code.

    Raises:
        WeightsError: E401, E406, E411, E412 when it may not be read; E607 when it is broken or holds other values.
    """
    if require_weights(path, allow_pickle=allow_pickle) == "safetensors":
        tensors = _read_safetensors(path)
        if not copies:
            return tensors
        return {name: tensor.clone() for name, tensor in tensors.items()}
    tree = read_pickle(path)
    if isinstance(tree, list):
        # The first versions of cloneofsimo's trainer wrote the factors without any names.
        tree = numbered_dict(tree)
    elif isinstance(tree, dict):
        tree = _flattened(tree)
    else:
        raise WeightsError.of(
            "E607", f"{path.name} holds a value of type {type(tree).__name__}, not a mapping of names to tensors"
        )
    found = {}
    for name, value in tree.items():
        if not isinstance(value, torch.Tensor):
            raise WeightsError.of(
                "E607",
                f"{path.name} is not a mapping of names to tensors: its {name!r:.80} is of type {type(value).__name__}",
            )
        found[str(name)] = _aligned(value)
    return found


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as cause:
        raise WeightsError.of("E607", f"{path.name}: {cause}", "download or copy the file again") from cause
    return tensors


def _flattened(tree: dict[Any, Any]) -> dict[Any, Any]:
    """The weights of a pickled mapping, with the names that a safetensors file has."""
    while isinstance(tree.get("state_dict"), dict):
        # Training frameworks save the weights beside the optimizer's state.
        tree = tree["state_dict"]
    # Numbers and texts beside the weights, such as a training step, are not applied. An alpha is.
    alphas = {name: value for name, value in tree.items() if str(name).endswith(".alpha")}
    weights = without_values(tree) | alphas
    if not all(isinstance(part, dict) for part in weights.values()):
        return weights
    # IP-Adapters are pickled in two parts, whose names are prefixes in a safetensors file.
    found = {}
    for part, inner in weights.items():
        for name, value in inner.items():
            found[f"{part}.{name}"] = value
    return found


def numbered_dict(values: Sequence[Any]) -> dict[str, Any]:
    """The values of a sequence by their positions as text: `0`, `1`, …."""
    return {str(number): value for number, value in enumerate(values)}


def without_values(tree: Mapping[str, Any]) -> dict[str, Any]:
    """`tree` without numbers and texts, such as a training step, which are not applied."""
    return {name: value for name, value in tree.items() if not isinstance(value, _NOT_WEIGHTS)}


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, Shape]:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def align(*models: torch.nn.Module) -> None:
    """Copy unaligned tensors in the CPU's memory, so that bits do not depend on where in a file a parameter is.

    A loader leaves parameters mapped at the offset that follows from the file's header. Aligned ones stay mapped. Call
    this once models are on their device: what moves to another device is copied anyway.
    """
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.device.type == "cpu":
                tensor.data = _aligned(tensor.data)


def _aligned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT_BYTES else tensor


def require_finite(tensors: Mapping[str, torch.Tensor], label: str) -> None:
    """Raise for an adapter's tensors that would break every image. `label` names it in messages: `adapter style`.

    Raises:
        WeightsError: E625 a number is NaN or infinite.
    """
    # A sum of finite numbers is finite: in float64 no tensor of a weights file overflows.
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.sum(dtype=torch.float64).isfinite()):
            raise not_finite(label, name)


def not_finite(*where: str) -> RecipeRunnerError:
    """The E625 error: what `where` names, from the outer to the inner, has NaN or infinite numbers."""
    return WeightsError.of(
        "E625",
        f"{': '.join(where)} has numbers that are not finite",
        "the file is corrupt or its training diverged: use another",
    )


def read_pickle(path: Path, classes: Sequence[Any] = ()) -> Any:
    """The value in the pickled file at `path`, read with `weights_only`: it cannot run code. The caller allows pickles.

    `classes` are allowed in addition to torch's own: containers of tensors that only hold values of the file.

    Raises:
        WeightsError: E607 when it is broken or holds objects of other classes.
    """
    try:
        inert = [(_Inert, name) for name in read_torch_file(path).names if INERT.fullmatch(name)]
        with torch.serialization.safe_globals([*classes, *inert]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError) as cause:
        reason, *_ = [*str(cause).splitlines(), type(cause).__name__]
        foreign = _FOREIGN.search(str(cause))
        if foreign is not None:
            reason = f"it holds a {foreign[1]}, which is not a plain tensor"
        raise WeightsError.of("E607", f"{path.name} cannot be read with weights_only: {reason}") from cause
