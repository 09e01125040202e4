"""Import this package's own images: each holds the recipe of that one image.

The recipe may come from a stranger here too: an address stays below the recipe's folder or names a Hub repository, no
pickle is allowed, and the recipe is checked like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any, cast

from recipe_runner.canonical import Json
from recipe_runner.document.write_yaml import to_yaml
from recipe_runner.exchange.importers.addresses import address_of, safetensors_name
from recipe_runner.exchange.importers.foreign_json import only
from recipe_runner.exchange.importers.generation import ForeignModel
from recipe_runner.exchange.importers.recipe_text import ImportContext, ImportedRecipe, comments, heading, one_line
from recipe_runner.images.metadata import RECIPE_KEYWORD
from recipe_runner.record.documents import ADDRESS_KEYS, readdressed
from recipe_runner.record.embedded_recipe import EXECUTED, read_carried

PROGRAM = "recipe_runner"
_SECTIONS = ("recipe", "base", "adapters", "prompts", "seeds", "sampling", "output")
_NARROWING = ("revision", "variant", "subfolder", "weight_name")


def own_recipe(texts: Mapping[str, str], source: str, context: ImportContext) -> ImportedRecipe | None:
    """The recipe in an image with these texts; None when it holds none. `source` is the file's name."""
    carried = read_carried(texts.get(RECIPE_KEYWORD, ""))
    if carried is None:
        return None
    tree, files = carried
    name, description = heading(source, PROGRAM)
    recipe: dict[str, Any] = {"recipe": 1, "name": name, "description": description, **only(tree, _SECTIONS)}
    lost: list[str] = []
    runtime = tree.get("runtime")
    if isinstance(runtime, Mapping):
        runtime = only(runtime, EXECUTED)
        if runtime:
            recipe["runtime"] = runtime
        if runtime.get("reproducibility") == "fast":
            lost.append("which images shared a batch, which at `fast` decides the last bits")
    recipe = readdressed(recipe, partial(_address, lost=lost), keys=(*ADDRESS_KEYS, "weight_name"))
    notes = _find(recipe, files, context)
    base = recipe.get("base")
    if context.base is not None and isinstance(base, dict):
        _place(base, context.base)
        base.pop("config", None)
    text = comments(lost) + "".join(f"# {note}\n" for note in notes) + to_yaml(cast("Json", recipe))
    return ImportedRecipe(name=name, program=PROGRAM, text=text, lost=tuple(lost))


def _address(value: Any, key: str, *, lost: list[str]) -> Any:
    if isinstance(value, list):
        return [_address(item, key, lost=lost) for item in value]
    if not isinstance(value, str):
        return value
    address, odd = address_of(ForeignModel(name=value, hub=True), folder=True)
    if key in ("model", "weight_name"):
        address, more = safetensors_name(address)
        odd += more
    lost += [one_line(f"{PurePosixPath(address).name}: {sentence}") for sentence in odd]
    return address


def _find(recipe: Mapping[str, Any], files: Mapping[str, Json], context: ImportContext) -> list[str]:
    """Write the paths of the weights files that are on this machine; return a note with the digest of each file."""
    notes = []
    for role, digest in files.items():
        section = _section(recipe, role)
        if section is None or not isinstance(digest, str):
            continue
        notes.append(one_line(f"{role}: sha256 {digest[:64]}"))
        name = section.get("weight_name") or section["model"]
        found = context.find(ForeignModel(name=str(name), hashes={"sha256": digest}))
        if found is not None:
            _place(section, found)
    return notes


def _section(recipe: Mapping[str, Any], role: str) -> dict[str, Any] | None:
    """The section of a role such as `adapters.style`; None when there is none with a model."""
    section: Any = recipe
    for part in role.split("."):
        section = section.get(part) if isinstance(section, Mapping) else None
    if isinstance(section, dict) and isinstance(section.get("model"), str):
        return section
    return None


def _place(section: dict[str, Any], model: str) -> None:
    """Let a section name this model, and nothing that narrows it."""
    for key in _NARROWING:
        section.pop(key, None)
    section["model"] = model
