"""Interim: a number, or a number per component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recipe_runner.canonical import Json


def module_scales(part: str, scale: Json, modules: Sequence[str]) -> dict[str, float]:
    """The scale of every module of a component."""
    if isinstance(scale, Mapping):
        scale = scale.get(part, 1.0)
    if isinstance(scale, Mapping) or scale is None:
        raise NotImplementedError
    return dict.fromkeys(modules, float(scale))
