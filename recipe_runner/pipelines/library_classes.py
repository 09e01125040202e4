"""Which classes of diffusers and transformers are concrete components, from the shipped table: no import of either.

`recipe_runner.runtime.write_class_table` writes the table from the versions that this package is proved with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

Kind = Literal[
    "diffusers_model", "transformers_model", "tokenizer", "image_processor", "processor", "scheduler", "guider"
]
MODELS: tuple[Kind, ...] = ("diffusers_model", "transformers_model")


@cache
def _homes() -> Mapping[str, Mapping[str, Kind]]:
    """The kind of each class, by the library or module of diffusers.pipelines that has it, and by its name."""
    text = (files("recipe_runner.pipelines") / "classes.json").read_text(encoding="utf-8")
    homes: Mapping[str, Mapping[Kind, str]] = json.loads(text)["classes"]
    return {home: _kinds_by_name(kinds) for home, kinds in homes.items()}


def _kinds_by_name(kinds: Mapping[Kind, str]) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for kind, names in kinds.items():
        found |= dict.fromkeys(names.split(), kind)
    return found


def class_kind(library: str, name: str) -> Kind | None:
    """What the class `name` of `library` is; None of an abstract class, one that picks another, and an unknown one."""
    kinds = _homes().get(library, {})
    # transformers knows the fast variant of a class by the class's own name too.
    return kinds.get(name) or kinds.get(name.removesuffix("Fast"))


def kind_anywhere(name: str) -> Kind | None:
    """What the class `name` is in the first library that has it; None as for `class_kind`."""
    return next((kind for home in _homes() if (kind := class_kind(home, name)) is not None), None)


def known_classes() -> list[str]:
    """The names of all classes."""
    return [name for kinds in _homes().values() for name in kinds]
