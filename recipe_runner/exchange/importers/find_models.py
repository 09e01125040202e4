"""Find the files that another program's text names, in folders of this machine: by name, or else by hash."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.digests import autov3, file_sha256

if TYPE_CHECKING:
    from recipe_runner.exchange.importers.generation import ForeignModel

_MOST_FILES = 20_000
_SUFFIXES = (".safetensors", ".sft")
_HEX = re.compile(r"(?:0x)?([0-9a-f]{8,64})")
_DIGESTS = dict.fromkeys(("Model hash", "VAE hash", "sha256"), (file_sha256,))


@dataclass
class ModelFolders:
    """Folders of weights files. Files are listed once, and hashed only to compare a hash."""

    folders: Sequence[Path]
    _files: dict[str, list[Path]] = field(default_factory=dict)

    def find(self, model: ForeignModel) -> Path | None:
        """The file of `model`: one of its name whose hash does not differ, else one of its hash."""
        if not self._files:
            for path in islice(self._walk(), _MOST_FILES):
                self._files.setdefault(stem(path.name), []).append(path)
        named = self._files.get(stem(model.name), [])
        for path in named:
            if _agrees(path, model) is not False:
                return path
        if not any(map(_hex, model.hashes.values())):
            return None
        for path in chain.from_iterable(self._files.values()):
            if path not in named and _agrees(path, model):
                return path
        return None

    def _walk(self) -> Iterator[Path]:
        for folder in self.folders:
            for root, _, names in sorted(os.walk(folder)):
                for name in sorted(names):
                    if name.lower().endswith(_SUFFIXES):
                        yield Path(root) / name


def _digest(digest: Callable[[Path], str], path: Path) -> str:
    try:
        return digest(path)
    except WeightsError:
        # A broken file is not the file that the text names.
        return ""


def stem(name: str) -> str:
    """The name of a weights file in lower case, without its folder and suffix."""
    return re.sub(r"\.(safetensors|sft|ckpt|pt|bin)$", "", name.replace("\\", "/").rpartition("/")[2].lower())


def _hex(text: str) -> str | None:
    """The digits of a hash that can be compared."""
    match = _HEX.fullmatch(text.lower())
    return match[1] if match else None


def _agrees(path: Path, model: ForeignModel) -> bool | None:
    """Whether the file has one of the model's hashes; None when the model has none that can be compared."""
    compared = False
    for kind, value in model.hashes.items():
        wanted = _hex(value)
        if wanted is None:
            continue
        compared = True
        # LoRAs are named by AutoV3; SD.Next writes the beginning of the whole file's digest there.
        digests = _DIGESTS.get(kind, (autov3, file_sha256))
        if any(_digest(digest, path).startswith(wanted) for digest in digests):
            return True
    return False if compared else None
