"""Find the files that a foreign text names, in folders of this machine: by name where the hash agrees, else by hash."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.digests import autov3, file_sha256

if TYPE_CHECKING:
    from recipe_runner.exchange.importers.generation import ForeignModel

_MOST_FILES = 20_000
_SUFFIXES = (".safetensors", ".sft")
_HEX = re.compile(r"(?:0x)?([0-9a-f]{8,64})")
_WHOLE_FILE = ("Model hash", "VAE hash", "sha256")


@dataclass
class ModelFolders:
    """Folders of weights files. Files are hashed only where a hash is asked for, and remembered."""

    folders: Sequence[Path]
    _files: dict[str, list[Path]] = field(default_factory=dict)

    def find(self, model: ForeignModel) -> Path | None:
        """The file that `model` means: one of its name whose hash is not another, else one of its hash."""
        if not self._files:
            for path in islice(self._walk(), _MOST_FILES):
                self._files.setdefault(_stem(path.name), []).append(path)
        named = self._files.get(_stem(model.name), [])
        agreeing = [path for path in named if _agrees(path, model) is not False]
        if agreeing:
            return agreeing[0]
        if not any(_HEX.fullmatch(value.lower()) for value in model.hashes.values()):
            return None
        paths = (path for paths in self._files.values() for path in paths if path not in named)
        return next((path for path in paths if _agrees(path, model) is True), None)

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
        # A broken file is not the one that was meant.
        return ""


def _stem(name: str) -> str:
    return re.sub(r"\.(safetensors|sft|ckpt|pt|bin)$", "", name.replace("\\", "/").rpartition("/")[2].lower())


def _agrees(path: Path, model: ForeignModel) -> bool | None:
    """Whether the file has one of the model's hashes; None where the text has none that can be compared."""
    answers = []
    for kind, value in model.hashes.items():
        match = _HEX.fullmatch(value.lower())
        if match is None:
            continue
        # LoRAs are named by AutoV3; SD.Next writes the beginning of the whole file's digest there.
        digests = (file_sha256,) if kind in _WHOLE_FILE else (autov3, file_sha256)
        answers.append(any(_digest(digest, path).startswith(match[1]) for digest in digests))
    return any(answers) if answers else None
