"""A program's name of a model as an address that a recipe may hold.

Names come from strangers' pictures. So a name is only ever a file below the recipe's folder (or, where a program means
Hub repositories, a repository): never a URL, an absolute path or a way out of the folder.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from recipe_runner.recipe.rules.base import PICKLED
from recipe_runner.sources.address import is_hub_id

if TYPE_CHECKING:
    from recipe_runner.exchange.importers.generation import ForeignModel

UNKNOWN = "unknown-model.safetensors"
_LONGEST = 200
_TRAILING_HASH = re.compile(r"\s*\[[0-9a-fA-F]{6,64}\]$")
_CACHED = re.compile(r"^(?:diffusers|huggingface)/", re.IGNORECASE)


def address_of(model: ForeignModel, *, folder: bool = False) -> tuple[str, tuple[str, ...]]:
    """The address, and a sentence where it is not what the name says.

    `folder` leaves a name without suffix as it is; else it is a .safetensors file.
    """
    name = _TRAILING_HASH.sub("", model.name.strip()).replace("\\", "/")
    cached = bool(_CACHED.match(name))
    name = _CACHED.sub("", name)
    notes: list[str] = []
    if "://" in name:
        notes.append("it is named by a URL, of which only the file's name is kept")
        name = PurePosixPath(re.split(r"[?#;]", name, maxsplit=1)[0]).name
    parts = ["".join(letter for letter in part if letter.isprintable()).strip() for part in name.split("/")]
    parts = [part.lstrip("~") for part in parts if part not in ("", ".", "..") and not part.endswith(":")]
    name = "/".join(part for part in parts if part)[-_LONGEST:].lstrip("/")
    if not name:
        return UNKNOWN, ("it is not named",)
    if (model.hub or cached) and (is_hub_id(name) or folder):
        return name, tuple(notes)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PICKLED:
        notes.append(f"it is a pickled {suffix} file, which a recipe refuses: convert it to .safetensors")
        return f"{name[: -len(suffix)]}.safetensors", tuple(notes)
    if suffix not in (".safetensors", ".sft", ".gguf") and not folder:
        name += ".safetensors"
    if suffix == ".gguf":
        notes.append("it is a .gguf file, which is not read")
    return name, tuple(notes)
