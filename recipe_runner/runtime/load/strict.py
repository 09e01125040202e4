"""What diffusers and transformers only log about a checkpoint is an error here: every parameter must come from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.wording import some


def check_report(part: str, report: Mapping[str, Any]) -> None:
    """Raise unless a loader's own report (`output_loading_info`) says that file and model match key for key.

    `report` has `missing_keys`, `unexpected_keys`, `mismatched_keys` and `error_msgs`, after the loader's renamings
    and its lists of harmless keys (tied weights, `position_ids`).

    Raises:
        WeightsError: E501 missing, E502 unexpected, E503 misshaped parameters, E513 anything else it reports.
    """
    missing = _names(report["missing_keys"])
    mismatched = _names(report["mismatched_keys"])
    unexpected = _names(report["unexpected_keys"])
    if missing:
        raise WeightsError.of(
            "E501",
            f"{part}: {len(missing)} parameters are not in its weights file: {some(missing)}",
            "the file is incomplete or belongs to another architecture; diffusers would leave these parameters empty "
            "or random",
        )
    if mismatched:
        raise WeightsError.of("E503", f"{part}: {len(mismatched)} parameters have another shape: {some(mismatched)}")
    if unexpected:
        raise WeightsError.of(
            "E502",
            f"{part}: {len(unexpected)} tensors of its weights file belong to no parameter: {some(unexpected)}",
            "the file belongs to another architecture, or config.json does",
        )
    errors = _names(report.get("error_msgs", ()))
    if errors:
        raise WeightsError.of("E513", f"{part}: {some(errors, 1)}")


def check_shards(part: str, model: torch.nn.Module, names: Iterable[str]) -> None:
    """Raise unless `names`, the tensors of all shards together, are the model's own.

    diffusers' report says nothing of a sharded checkpoint.

    Raises:
        WeightsError: E501 missing, E502 unexpected parameters.
    """
    wanted, found = list(model.state_dict()), list(names)
    ignored = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or []
    known = frozenset(wanted)
    extra = [name for name in found if name not in known and not any(re.search(each, name) for each in ignored)]
    there = frozenset(found)
    missing = [name for name in wanted if name not in there]
    check_report(part, {"missing_keys": missing, "unexpected_keys": extra, "mismatched_keys": ()})


def check_whole(part: str, model: torch.nn.Module) -> None:
    """Raise E504 when a parameter or buffer of `model` is still empty (on the meta device)."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    empty = [name for name, tensor in tensors if tensor.is_meta]
    if empty:
        raise WeightsError.of(
            "E504",
            f"{part}: {len(empty)} parameters were never filled from the checkpoint: {some(empty)}",
            "the checkpoint is incomplete",
        )


def _names(keys: Iterable[Any]) -> list[str]:
    # The loaders give sets; mismatches are (name, shape in the file, shape in the model).
    shown = []
    for key in keys:
        if isinstance(key, tuple):
            name, found, wanted = (*key, "", "")[:3]
            shown.append(f"{name} ({_shape(found)} instead of {_shape(wanted)})" if found else str(name))
        else:
            shown.append(str(key))
    return sorted(shown)


def _shape(shape: Any) -> str:
    return "x".join(str(size) for size in shape)
