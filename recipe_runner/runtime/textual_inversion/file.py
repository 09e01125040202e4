"""Read a textual inversion file: a learned token and its vectors for each text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from recipe_runner.plan.resolved import ResolvedTextualInversion
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.load.tensors import (
    not_finite,
    numbered_dict,
    read_pickle,
    read_tensors,
    shapes_of,
    without_values,
)
from recipe_runner.weights.embedding import BARE, identify_embedding, place_embedding, require_embedding, token_of
from recipe_runner.weights.files.formats import require_weights
from recipe_runner.weights.modules import ModuleTable

_PICKLED = "string_to_param"
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Learned:
    """A token, and its vectors [number, width] by text encoder."""

    token: str
    vectors: Mapping[str, torch.Tensor]


def read_learned(adapter: ResolvedTextualInversion, modules: ModuleTable, *, allow_pickle: bool) -> Learned:
    """The token and vectors of an adapter's file.

    Args:
        adapter: the adapter.
        modules: of each component the names and weight shapes of its modules.
        allow_pickle: whether a pickled file may be read.

    Raises:
        WeightsError: E4xx, E607 the file cannot be read; E620 to E623, E625 it has no token, is not an embedding, does
            not fit, or holds numbers that are not finite.
    """
    path = adapter.path
    label = f"adapter {adapter.name}"
    name = None
    if require_weights(path, allow_pickle=allow_pickle) == "safetensors":
        tensors = read_tensors(path, allow_pickle=False)
    else:
        tensors, name = _unpacked(read_pickle(path, (torch.nn.ParameterDict,)), label)
    embedding = require_embedding(
        identify_embedding(
            shapes_of(tensors),
            dtypes={key: _dtype(tensor) for key, tensor in tensors.items()},
            name=name,
            token=adapter.token,
        ),
        label,
    )
    token = adapter.token or token_of(embedding, adapter.file_name, label)
    placed = place_embedding(embedding, modules, target=adapter.target, label=label)
    vectors = {}
    for part, place in placed.items():
        vectors[part] = vectors_of(tensors[place.key], f"{label}: `{token}` of the {part}")
    return Learned(token, vectors)


def _dtype(tensor: torch.Tensor) -> str:
    """The tensor's data type as `identify_embedding` takes it: `F` for any floating-point type."""
    return "F" if tensor.is_floating_point() else str(tensor.dtype)


def vectors_of(tensor: torch.Tensor, label: str) -> torch.Tensor:
    """The vectors of a file's tensor, [number, width], in float32 or wider.

    Raises:
        WeightsError: E625 they are not finite.
    """
    if tensor.itemsize < _FLOAT32_BYTES:
        tensor = tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise not_finite(label)
    return tensor.reshape(-1, tensor.shape[-1])


def _unpacked(tree: Any, label: str) -> tuple[dict[str, torch.Tensor], str | None]:
    """The tensors of a pickled file, and the token that it names beside them."""
    if isinstance(tree, torch.Tensor):
        return {BARE: tree}, None
    if isinstance(tree, (list, tuple)):
        tree = numbered_dict(tree)
    if not isinstance(tree, dict):
        raise WeightsError.of(
            "E621",
            f"{label}: the file is not a textual inversion: it is a {type(tree).__name__}, not one token's tensor",
            "save the vectors as one tensor [number, width] named after the token",
        )
    values: Mapping[str, Any] = tree
    prefix = ""
    if _PICKLED in tree:
        values, prefix = _members(tree[_PICKLED]), f"{_PICKLED}."
    tensors = {}
    for key, value in without_values(values).items():
        if not isinstance(value, torch.Tensor):
            raise WeightsError.of(
                "E621",
                f"{label}: the file is not a textual inversion: {prefix}{key} does not hold a tensor",
                "use the file of one learned token",
            )
        tensors[f"{prefix}{key}"] = value.detach()
    name = tree.get("name")
    return tensors, name if isinstance(name, str) else None


def _members(held: Any) -> Mapping[str, Any]:
    if isinstance(held, torch.nn.ParameterDict):
        # Every version of ParameterDict keeps its members here.
        held = vars(held)["_parameters"]
    return held if isinstance(held, dict) else {}
