"""Handles for tests: a folder or file as a source with true digests, and shorthands for the types around it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipe_runner.plan.resolved import (
    ModelHandle,
    ResolvedAdapter,
    ResolvedImagePrompt,
    ResolvedIpAdapter,
    ResolvedLora,
    ResolvedTextualInversion,
)
from recipe_runner.plan.resolved_base import ResolvedBase, ResolvedComponent
from recipe_runner.sources.source import Source, SourceFile
from recipe_runner.weights.ip_adapter import ImagePromptShape


def source(root: Path) -> Source:
    """All files under the folder `root`."""
    files = tuple(
        SourceFile(
            name=path.relative_to(root).as_posix(),
            size=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    )
    return Source(address=root.name, root=root, files=files)


def file_source(path: Path) -> Source:
    """One file."""
    content = path.read_bytes()
    file = SourceFile(name=path.name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    return Source(address=path.name, root=path.parent, files=(file,))


def base_model(folder: Path, **changes: Any) -> ResolvedBase:
    """The pipeline in `folder`, of the class that its model_index.json names."""
    pipeline = json.loads((folder / "model_index.json").read_text())["_class_name"]
    return ResolvedBase(**{"source": source(folder), "pipeline": pipeline, **changes})


def handle(base: ResolvedBase, *adapters: ResolvedAdapter, **scales: Any) -> ModelHandle:
    """A handle of `base` with `adapters`, and scales by adapter name."""
    scaled = [replace(adapter, scale=scales.get(adapter.name, 1.0)) for adapter in adapters]
    return ModelHandle(base=base, adapters=tuple(scaled))


def lora_model(path: Path, name: str = "style", **changes: Any) -> ResolvedLora:
    """The LoRA in the file at `path`."""
    return ResolvedLora(**{"name": name, "source": file_source(path), **changes})


def embedding_model(path: Path, name: str = "learned", **changes: Any) -> ResolvedTextualInversion:
    """The textual inversion in the file at `path`."""
    return ResolvedTextualInversion(**{"name": name, "source": file_source(path), **changes})


def ip_adapter_model(path: Path, name: str = "look", **changes: Any) -> ResolvedIpAdapter:
    """The IP-Adapter in the file at `path`."""
    return ResolvedIpAdapter(**{"name": name, "source": file_source(path), **changes})


def shown_picture(name: str, encoder: ResolvedComponent, path: Path, *, hidden: bool = False) -> ResolvedImagePrompt:
    """One picture for the IP-Adapter called `name`, of which it reads the hidden states or the projected embedding."""
    features = "hidden_states" if hidden else "image_embeds"
    shown = ImagePromptShape(count=1, features=features, faces=False, patches=hidden, negative=True)  # type: ignore[arg-type]
    return ResolvedImagePrompt(name=name, shown=shown, pictures=(file_source(path),), encoder=encoder)
