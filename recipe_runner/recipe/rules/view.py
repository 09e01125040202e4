"""The rules' view of a recipe: a plain tree in which any part can have the wrong shape.

The schema reports wrong shapes. A rule checks only parts with the right shape, and ignores the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.canonical import elements, mapping
from recipe_runner.document.paths import prompt_id
from recipe_runner.pipelines import table as diffusers_table

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

LARGEST_INDEX = 1024 * 1024
"""Largest size of a model_index.json in bytes; real ones have one or two thousand."""


@dataclass(frozen=True)
class View:
    """A recipe tree, and the folder for its relative paths."""

    tree: Mapping[str, Json]
    folder: Path

    @cached_property
    def base(self) -> Mapping[str, Json]:
        """The section `base`."""
        return mapping(self.tree.get("base"))

    @cached_property
    def adapters(self) -> Mapping[str, Mapping[str, Json]]:
        """The adapters that are mappings."""
        section = mapping(self.tree.get("adapters"))
        return {name: adapter for name, adapter in section.items() if isinstance(adapter, Mapping)}

    @cached_property
    def prompts(self) -> Sequence[tuple[str, Mapping[str, Json]]]:
        """Each prompt with its id: its own, or the one by position."""
        found = elements(self.tree.get("prompts"))
        return [(prompt_id(prompt, index), mapping(prompt)) for index, prompt in enumerate(found)]

    @cached_property
    def loras(self) -> Mapping[str, Mapping[str, Json]]:
        """The adapters of kind lora."""
        return dict(self.of_kind("lora"))

    @cached_property
    def ip_adapters(self) -> Mapping[str, Mapping[str, Json]]:
        """The adapters of kind ip_adapter."""
        return dict(self.of_kind("ip_adapter"))

    def of_kind(self, kind: str) -> Iterator[tuple[str, Mapping[str, Json]]]:
        """The adapters of a kind."""
        for name, adapter in self.adapters.items():
            if adapter.get("kind") == kind:
                yield name, adapter

    @cached_property
    def pipeline(self) -> str | None:
        """The pipeline class that the recipe names, or the folder of the base; None when it is unknown."""
        name = self._named_pipeline()
        if name not in diffusers_table.pipelines():
            return None
        return name

    def _named_pipeline(self) -> str | None:
        named = self.base.get("pipeline", "auto")
        if isinstance(named, str) and named != "auto":
            return named
        model = self.base.get("model")
        if not isinstance(model, str) or "://" in model or "\0" in model:
            return None
        return pipeline_class(self.folder / model / "model_index.json")

    @property
    def pipeline_entry(self) -> Mapping[str, Any] | None:
        """The entry of the pipeline class in the shipped table; None when the class is unknown."""
        if self.pipeline is None:
            return None
        return diffusers_table.pipelines()[self.pipeline]


@lru_cache(maxsize=64)
def pipeline_class(index: Path) -> str | None:
    """The pipeline class that a model_index.json names; None when it cannot be read."""
    try:
        if not index.is_file() or index.stat().st_size > LARGEST_INDEX:
            return None
        content = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    name = mapping(content).get("_class_name")
    return name if isinstance(name, str) else None
