"""What rules look at: a plain recipe tree that may still have the wrong shape anywhere.

The schema has its say about shapes; a rule only looks at what has the right one, and is silent about the rest.
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
"""Bytes of a model_index.json that is read; a real one has one or two thousand."""


@dataclass(frozen=True)
class View:
    """A recipe tree, and the folder that its paths are relative to."""

    tree: Mapping[str, Json]
    folder: Path

    @cached_property
    def base(self) -> Mapping[str, Json]:
        """The section `base`."""
        return mapping(self.tree.get("base"))

    @cached_property
    def adapters(self) -> Mapping[str, Mapping[str, Json]]:
        """The adapters that are mappings."""
        return {
            name: adapter
            for name, adapter in mapping(self.tree.get("adapters")).items()
            if isinstance(adapter, Mapping)
        }

    @cached_property
    def prompts(self) -> Sequence[tuple[str, Mapping[str, Json]]]:
        """Each prompt with its id, given or by position."""
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
        return ((name, adapter) for name, adapter in self.adapters.items() if adapter.get("kind") == kind)

    @cached_property
    def pipeline(self) -> str | None:
        """The pipeline class, where it is known: named by the recipe, or by the base's folder on this machine."""
        named = self.base.get("pipeline", "auto")
        if isinstance(named, str) and named != "auto":
            return named if named in diffusers_table.pipelines() else None
        model = self.base.get("model")
        if not isinstance(model, str) or "://" in model or "\0" in model:
            return None
        found = pipeline_class(self.folder / model / "model_index.json")
        return found if found in diffusers_table.pipelines() else None

    @property
    def pipeline_entry(self) -> Mapping[str, Any] | None:
        """What the shipped table says of the pipeline class, where it is known."""
        return None if self.pipeline is None else diffusers_table.pipelines()[self.pipeline]


@lru_cache(maxsize=64)
def pipeline_class(index: Path) -> str | None:
    """The pipeline class that a model_index.json names; None when it cannot be read."""
    try:
        if not index.is_file() or index.stat().st_size > LARGEST_INDEX:
            return None
        content = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    name = content.get("_class_name") if isinstance(content, dict) else None
    return name if isinstance(name, str) else None
