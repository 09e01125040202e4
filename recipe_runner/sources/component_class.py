"""The class of a component as a file names it. It must be a concrete class, so that its loading can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipe_runner.pipelines.library_classes import Kind, class_kind, kind_anywhere, known_classes
from recipe_runner.problems.suggest import nearest
from recipe_runner.sources.address import refused
from recipe_runner.sources.component_files import read_json
from recipe_runner.sources.folder import Folder

_STATED = {
    "config.json": ("_class_name", "architectures"),
    "scheduler_config.json": ("_class_name",),
    "guider_config.json": ("_class_name",),
    "tokenizer_config.json": ("tokenizer_class",),
    "preprocessor_config.json": ("image_processor_type", "feature_extractor_type"),
    "processor_config.json": ("processor_class",),
}
"""The keys of a component's own files that name its class."""


def component_kind(shown: str, name: str, entry: tuple[str, str], folder: Folder) -> Kind:
    """The kind of the component `name`, whose library and class are `entry`. `shown` is the file that names them.

    Raises:
        ResolutionError: E445 the class is not concrete; the hint gives the class that the files in `folder` name.
    """
    library, class_name = entry
    kind = class_kind(library, class_name)
    if kind is None:
        said = f"{shown}: component {name} is [{library}, {class_name}]"
        raise _not_concrete(said, class_name, _concrete(folder))
    return kind


def declared_kind(config: Mapping[str, Any], shown: str) -> Kind | None:
    """The kind of the component of this config.json; None if it names no class. `shown` is the file.

    Raises:
        ResolutionError: E445 the class is not concrete.
    """
    class_name = declared_class(config)
    if class_name is None:
        return None
    kind = kind_anywhere(class_name)
    if kind is None:
        said = f"{shown} names the class {class_name}"
        raise _not_concrete(said, class_name, None)
    return kind


def declared_class(config: Mapping[str, Any]) -> str | None:
    """The class that a component's own configuration names; None if it names none."""
    return _first(config.get("_class_name")) or _first(config.get("architectures"))


def _first(value: Any) -> str | None:
    """A class name, or the first of a list of them; None for anything else."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str) and value:
        return value
    return None


def _concrete(folder: Folder) -> str | None:
    """The concrete class that a component's own files name."""
    for file, keys in _STATED.items():
        if not (folder / file).is_file():
            continue
        config = read_json(folder / file, file)
        for key in keys:
            named = _first(config.get(key))
            if named is not None and kind_anywhere(named) is not None:
                return named
    return None


def _not_concrete(said: str, class_name: str, instead: str | None) -> Exception:
    """E445, with the class to write instead if it is known."""
    message = f"{said}, which is not a concrete class of a model, tokenizer, processor or scheduler"
    if instead is not None:
        return refused("E445", message, f"write {instead}, which its own files name")
    if not class_name.startswith("Auto"):
        near = nearest(class_name, known_classes())
        if near is not None:
            return refused("E445", message, f"did you mean {near}?")
    return refused("E445", message, "write the class that the component was saved from")
