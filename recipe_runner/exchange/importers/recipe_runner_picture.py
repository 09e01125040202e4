"""Our own pictures: the recipe that one carries, as a recipe of that one image.

What a picture says is a stranger's, here too: an address stays below the recipe's folder or names a Hub repository, no
pickle is allowed, and the recipe is checked like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast

from recipe_runner.canonical import Json
from recipe_runner.document.write_yaml import to_yaml
from recipe_runner.exchange.importers.addresses import address_of
from recipe_runner.exchange.importers.generation import ForeignModel
from recipe_runner.exchange.importers.recipe_text import (
    ImportedRecipe,
    Surroundings,
    comments,
    one_line,
    relative,
    slug,
)
from recipe_runner.images.metadata import RECIPE_KEYWORD
from recipe_runner.recipe.rules.base import PICKLED
from recipe_runner.record.documents import ADDRESS_KEYS, readdressed
from recipe_runner.record.embedded_recipe import EXECUTED, read_carried

PROGRAM = "recipe_runner"
_SECTIONS = ("recipe", "base", "adapters", "prompts", "seeds", "sampling", "output")
_NARROWING = ("revision", "variant", "subfolder", "weight_name")


def own_recipe(texts: Mapping[str, str], source: str, surroundings: Surroundings) -> ImportedRecipe | None:
    """The recipe that the picture with these texts carries; None where it carries none. `source` is its file's name."""
    carried = read_carried(texts.get(RECIPE_KEYWORD, ""))
    if carried is None:
        return None
    tree, files = carried
    lost: list[str] = []
    name = slug(Path(source).stem) or "imported"
    recipe: dict[str, Any] = {
        "recipe": 1,
        "name": name,
        "description": one_line(f"Imported from {Path(source).name} ({PROGRAM})."),
        **{key: tree[key] for key in _SECTIONS if key in tree},
    }
    runtime = tree.get("runtime")
    if isinstance(runtime, Mapping) and (kept := {key: runtime[key] for key in EXECUTED if key in runtime}):
        recipe["runtime"] = kept
        if kept.get("reproducibility") == "fast":
            lost.append("which images shared a batch, which at `fast` decides the last bits")
    recipe = readdressed(recipe, partial(_address, lost=lost), keys=(*ADDRESS_KEYS, "weight_name"))
    notes = _find(recipe, files, surroundings)
    if surroundings.base is not None and isinstance(recipe.get("base"), dict):
        for key in (*_NARROWING, "config"):
            recipe["base"].pop(key, None)
        recipe["base"]["model"] = surroundings.base
    text = comments(lost) + "".join(f"# {note}\n" for note in notes) + to_yaml(cast("Json", recipe))
    return ImportedRecipe(name=name, program=PROGRAM, text=text, lost=tuple(lost))


def _address(value: Any, key: str, *, lost: list[str]) -> Any:
    if isinstance(value, list):
        return [_address(item, key, lost=lost) for item in value]
    if not isinstance(value, str):
        return value
    address, odd = address_of(ForeignModel(name=value, hub=True), folder=True)
    suffix = PurePosixPath(address).suffix.lower()
    if key in ("model", "weight_name") and suffix in PICKLED:
        address = f"{address[: -len(suffix)]}.safetensors"
        odd = (*odd, f"it is a pickled {suffix} file, which a recipe refuses: convert it to .safetensors")
    lost += [one_line(f"{PurePosixPath(address).name}: {sentence}") for sentence in odd]
    return address


def _find(recipe: dict[str, Any], files: Mapping[str, Json], surroundings: Surroundings) -> list[str]:
    """Name the weights files that are on this machine, and note the digests of all."""
    notes = []
    for role, digest in files.items():
        holder: Any = recipe
        for part in role.split("."):
            holder = holder.get(part) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or not isinstance(holder.get("model"), str) or not isinstance(digest, str):
            continue
        notes.append(one_line(f"{role}: sha256 {digest[:64]}"))
        model = ForeignModel(name=str(holder.get("weight_name") or holder["model"]), hashes={"sha256": digest})
        found = surroundings.models.find(model) if surroundings.models is not None else None
        if found is not None:
            for key in _NARROWING:
                holder.pop(key, None)
            holder["model"] = relative(found, surroundings.folder)
    return notes
