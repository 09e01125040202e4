"""Turn another program's name of a model into an address that a recipe can hold.

Names come from strangers' images. So a name only becomes a file below the recipe's folder (or a repository, when the
program means the Hub): never a URL, an absolute path or a path out of the folder.
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
    """The address, and a sentence for each way in which it differs from the name.

    `folder` leaves a name without a suffix as it is; else it becomes a .safetensors file.
    """
    name = _TRAILING_HASH.sub("", model.name.strip()).replace("\\", "/")
    name, cached = _CACHED.subn("", name)
    notes: list[str] = []
    if "://" in name:
        notes.append("the text names it by a URL; only the file name is kept")
        name = PurePosixPath(re.split(r"[?#;]", name, maxsplit=1)[0]).name
    name = _below_the_folder(name)
    if not name:
        return UNKNOWN, ("the text does not name it",)
    if (model.hub or cached) and (is_hub_id(name) or folder):
        return name, tuple(notes)
    name, odd = safetensors_name(name)
    notes += odd
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".gguf":
        notes.append("it is a .gguf file, which is not read")
    elif suffix not in (".safetensors", ".sft") and not folder:
        name += ".safetensors"
    return name, tuple(notes)


def safetensors_name(name: str) -> tuple[str, tuple[str, ...]]:
    """The name of a pickled file as a .safetensors file, and a sentence about it; other names stay as they are."""
    suffix = PurePosixPath(name).suffix
    if suffix.lower() not in PICKLED:
        return name, ()
    sentence = f"it is a pickled {suffix.lower()} file, which a recipe refuses: convert it to .safetensors"
    return f"{name.removesuffix(suffix)}.safetensors", (sentence,)


def _below_the_folder(name: str) -> str:
    """The parts of a path that stay below a folder, without drives, home folders and unprintable letters."""
    parts: list[str] = []
    for written in name.split("/"):
        part = "".join(filter(str.isprintable, written)).strip()
        if part not in ("", ".", "..") and not part.endswith(":"):
            parts.append(part.lstrip("~"))
    return "/".join(filter(None, parts))[-_LONGEST:].lstrip("/")
