"""Read a textual inversion file: a learned token and its vectors for each text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from recipe_runner.plan.resolved import ResolvedTextualInversion
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.load.tensors import read_pickle, read_tensors
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
        WeightsError: E4xx, E607 the file cannot be read; E620 to E623, E625 it has no token, is no embedding, does not
            fit, or holds numbers that are not finite.
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
            {key: tuple(tensor.shape) for key, tensor in tensors.items()},
            dtypes={key: "F" if tensor.is_floating_point() else str(tensor.dtype) for key, tensor in tensors.items()},
            name=name,
            token=adapter.token,
        ),
        label,
    )
    token = adapter.token or token_of(embedding, adapter.file_name, label)
    placed = place_embedding(embedding, modules, target=adapter.target, label=label)
    vectors = {
        part: vectors_of(tensors[place.key], f"{label}: `{token}` of the {part}") for part, place in placed.items()
    }
    return Learned(token, vectors)


def vectors_of(tensor: torch.Tensor, label: str) -> torch.Tensor:
    """The vectors of a file's tensor, [number, width], in float32 or wider.

    Raises:
        WeightsError: E625 they are not finite.
    """
    wide = tensor.float() if tensor.itemsize < _FLOAT32_BYTES else tensor
    if not bool(torch.isfinite(wide).all()):
        hint = "the file is spoilt or its training failed: use another"
        raise WeightsError.of("E625", f"{label} has numbers that are not finite", hint)
    return wide.reshape(-1, wide.shape[-1])


def _unpacked(tree: Any, label: str) -> tuple[dict[str, torch.Tensor], str | None]:
    """The tensors of a pickled file, and the token that it names beside them."""
    if isinstance(tree, torch.Tensor):
        return {BARE: tree}, None
    if isinstance(tree, (list, tuple)):
        tree = {str(number): value for number, value in enumerate(tree)}
    if not isinstance(tree, dict):
        message = f"{label}: the file is no textual inversion: it is a {type(tree).__name__}, not one token's tensor"
        raise WeightsError.of("E621", message, "save the vectors as one tensor [number, width] named after the token")
    name = tree.get("name")
    if _PICKLED in tree:
        held = tree[_PICKLED]
        # A ParameterDict of any age keeps its members here.
        held = vars(held)["_parameters"] if isinstance(held, torch.nn.ParameterDict) else held
        tensors = {f"{_PICKLED}.{key}": value for key, value in held.items()} if isinstance(held, dict) else {}
    else:
        tensors = {str(key): value for key, value in tree.items()}
    # Numbers and texts beside the vectors, such as a training step, say nothing that is applied.
    tensors = {key: value for key, value in tensors.items() if not isinstance(value, (str, int, float, type(None)))}
    foreign = [key for key, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if foreign:
        message = f"{label}: the file is no textual inversion: {foreign[0]} holds no tensor"
        raise WeightsError.of("E621", message, "use the file of one learned token")
    return {key: value.detach() for key, value in tensors.items()}, name if isinstance(name, str) else None
