"""Turn what diffusers and transformers only log about a checkpoint into errors: it must fill every parameter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.wording import some


def check_report(part: str, report: Mapping[str, Any]) -> None:
    """Raise unless a loader's own report (`output_loading_info`) says that file and model match key for key.

    `report` has `missing_keys`, `unexpected_keys`, `mismatched_keys` and `error_msgs`, after the loader renamed keys
    and dropped harmless ones (tied weights, `position_ids`).

    Raises:
        WeightsError: E501 missing parameters, E502 unexpected ones, E503 ones of another shape, E513 other errors.
    """
    missing = _names(report["missing_keys"])
    mismatched = _names(report["mismatched_keys"])
    unexpected = _names(report["unexpected_keys"])
    if missing:
        raise WeightsError.of(
            "E501",
            f"{part}: {len(missing)} parameters are missing in its weights file: {some(missing)}",
            "the file is incomplete or has another architecture; diffusers would leave the parameters empty or random",
        )
    if mismatched:
        raise WeightsError.of("E503", f"{part}: {len(mismatched)} parameters have another shape: {some(mismatched)}")
    if unexpected:
        raise WeightsError.of(
            "E502",
            f"{part}: {len(unexpected)} tensors of its weights file do not belong to a parameter: {some(unexpected)}",
            "the file or its config.json has another architecture",
        )
    errors = _names(report.get("error_msgs", ()))
    if errors:
        raise WeightsError.of("E513", f"{part}: {some(errors, 1)}")


def check_shards(part: str, model: torch.nn.Module, names: Iterable[str]) -> None:
    """Raise unless `names`, the tensors of all shards together, are exactly the model's own.

    diffusers' report does not cover sharded checkpoints.

    Raises:
        WeightsError: E501 missing, E502 unexpected parameters.
    """
    wanted, found = frozenset(model.state_dict()), frozenset(names)
    unexpected = found - wanted
    for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ():
        unexpected -= set(filter(re.compile(pattern).search, unexpected))
    check_report(part, {"missing_keys": wanted - found, "unexpected_keys": unexpected, "mismatched_keys": ()})


def check_whole(part: str, model: torch.nn.Module) -> None:
    """Raise E504 when a parameter or buffer of `model` is still empty (on the meta device)."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    empty = [name for name, tensor in tensors if tensor.is_meta]
    if empty:
        raise WeightsError.of(
            "E504",
            f"{part}: {len(empty)} parameters are still empty after loading the checkpoint: {some(empty)}",
            "the checkpoint is incomplete",
        )


def _names(keys: Iterable[Any]) -> list[str]:
    # The loaders give sets; mismatches are (name, shape in the file, shape in the model).
    return sorted(map(_name, keys))


def _name(key: Any) -> str:
    if not isinstance(key, tuple):
        return str(key)
    name, *shapes = key
    if not shapes:
        return str(name)
    found, wanted = shapes
    return f"{name} ({shape_text(found)} instead of {shape_text(wanted)})"


def shape_text(shape: Iterable[int]) -> str:
    """A shape in a message: `320x4x3x3`."""
    return "x".join(map(str, shape))
