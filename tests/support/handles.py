"""Handles for tests: a folder or file as a source with true digests, and shorthands for the types around it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from recipe_runner.plan.handle import (
    AdapterModel,
    BaseModel,
    ComponentModel,
    ImagePrompt,
    IpAdapterModel,
    LoraModel,
    ModelHandle,
    TextualInversionModel,
)
from recipe_runner.sources.source import Source, SourceFile
from recipe_runner.weights.ip_adapter import Shown


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


def base_model(folder: Path, **changes: Any) -> BaseModel:
    """The pipeline in `folder`, of the class that its model_index.json names."""
    pipeline = json.loads((folder / "model_index.json").read_text())["_class_name"]
    return BaseModel(**{"key": "base", "source": source(folder), "pipeline": pipeline, **changes})


def handle(base: BaseModel, *adapters: AdapterModel, **scales: Any) -> ModelHandle:
    """A handle of `base` with `adapters`, and scales by adapter name."""
    return ModelHandle(key="handle", base=base, adapters=adapters, scales=scales)


def lora_model(path: Path, name: str = "style", **changes: Any) -> LoraModel:
    """The LoRA in the file at `path`."""
    return LoraModel(**{"key": name, "name": name, "source": file_source(path), "weight_name": path.name, **changes})


def embedding_model(path: Path, name: str = "learned", **changes: Any) -> TextualInversionModel:
    """The textual inversion in the file at `path`."""
    settings = {"key": name, "name": name, "source": file_source(path), "weight_name": path.name}
    return TextualInversionModel(**{**settings, **changes})


def ip_adapter_model(path: Path, name: str = "look", **changes: Any) -> IpAdapterModel:
    """The IP-Adapter in the file at `path`."""
    settings = {"key": name, "name": name, "source": file_source(path), "weight_name": path.name}
    return IpAdapterModel(**{**settings, **changes})


def shown_picture(name: str, encoder: ComponentModel, path: Path, *, hidden: bool = False) -> ImagePrompt:
    """One picture for the IP-Adapter called `name`, of which it reads the hidden states or the projected embedding."""
    features = "hidden_states" if hidden else "image_embeds"
    shown = Shown(count=1, features=features, faces=False, patches=hidden, negative=True)  # type: ignore[arg-type]
    return ImagePrompt(name=name, shown=shown, pictures=(file_source(path),), encoder=encoder)
