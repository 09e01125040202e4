"""The configurations that come with this package, so that a single-file checkpoint loads without the network.

They have the published settings of each family (`configs/<family>/`). The CLIP tokenizer is stored once, as its merges;
its vocabulary is derived from them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from recipe_runner.canonical import digest
from recipe_runner.pipelines.family import SD1, SD2, SDXL, UNET_FAMILIES
from recipe_runner.sources.source import Source, SourceFile
from recipe_runner.weights.files.digests import cache_folder, file_sha256

FAMILIES = tuple(family.name for family in UNET_FAMILIES)
_ADDRESS = "recipe_runner:"
_CONFIGS = Path(__file__).parent / "configs"
_MERGES = "clip/merges.txt"
_START, _END = "<|startoftext|>", "<|endoftext|>"
_TOKENIZERS = {
    SD1.name: {"tokenizer": _END},
    SD2.name: {"tokenizer": "!"},
    SDXL.name: {"tokenizer": _END, "tokenizer_2": "!"},
}
"""The tokenizers of each family, and the token that each pads with."""


def bundled_config(family: str) -> Source:
    """The configuration of `family` as a source: a folder in diffusers' layout, tokenizers included.

    It is written once to this user's cache folder, aside and then renamed, under the digest of its inputs.
    """
    names = [*_names(family), _MERGES]
    made_from = digest([[name, file_sha256(_CONFIGS / name)] for name in names])
    root = _laid_out(family, cache_folder() / "configs" / f"{family}-{made_from[:16]}")
    files = [SourceFile.of(path, root) for path in root.rglob("*") if path.is_file()]
    files.sort(key=attrgetter("name"))
    return Source(address=f"{_ADDRESS}{family}", root=root, files=tuple(files))


def bundled_family(config: Source) -> str | None:
    """The family of a configuration of this package; None for any other source."""
    family = config.address.removeprefix(_ADDRESS)
    if not config.address.startswith(_ADDRESS) or family not in FAMILIES:
        return None
    return family


def _laid_out(family: str, root: Path) -> Path:
    if root.is_dir():
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=root.parent, prefix=".making-"))
    except OSError:
        # The cache cannot be written: this process uses a copy of its own.
        return write_config(family, Path(tempfile.mkdtemp(prefix="recipe-runner-config-")))
    write_config(family, aside)
    aside.chmod(0o755)
    try:
        aside.rename(root)
    except OSError:
        # Another process was faster, and its folder has the same contents.
        shutil.rmtree(aside, ignore_errors=True)
    return root


def bundled_index(family: str) -> Path:
    """The folder of `family` in the package, with its model_index.json."""
    if family not in FAMILIES:
        message = f"BUG: the package has no configuration for {family!r}"
        raise AssertionError(message)
    return _CONFIGS / family


def write_config(family: str, folder: Path) -> Path:
    """Write the whole configuration of `family`, tokenizers included, as diffusers reads it; returns `folder`."""
    source = bundled_index(family)
    for name in _names(family):
        target = folder / Path(name).relative_to(family)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((source.parent / name).read_bytes())
    for name, pad in _TOKENIZERS[family].items():
        write_clip_tokenizer(folder / name, pad)
    return folder


def _names(family: str) -> list[str]:
    folder = bundled_index(family)
    return sorted(path.relative_to(_CONFIGS).as_posix() for path in folder.rglob("*.json"))


def clip_vocabulary() -> dict[str, int]:
    """CLIP's vocabulary: all bytes, all bytes at the end of a word, all merges, and the two marks; 49,408 tokens.

    Source: openai/CLIP `clip/simple_tokenizer.py`.
    """
    characters = list(_byte_characters())
    pieces = list(characters)
    pieces += [f"{character}</w>" for character in characters]
    pieces += [merge.replace(" ", "") for merge in _merges()]
    pieces += [_START, _END]
    return {piece: number for number, piece in enumerate(pieces)}


def _merges() -> list[str]:
    return (_CONFIGS / _MERGES).read_text(encoding="utf-8").splitlines()


def _byte_characters() -> Iterator[str]:
    """A printable character for each of the 256 bytes: printable bytes first, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, printable)
    yield from map(chr, range(256, 512 - len(printable)))


def write_clip_tokenizer(folder: Path, pad_token: str) -> Path:
    """Write a CLIPTokenizer folder; `pad_token` is `<|endoftext|>` for OpenAI's encoders and `!` for OpenCLIP's."""
    folder.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": _START, "eos_token": _END, "pad_token": pad_token, "unk_token": _END}
    settings = {
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
        **special,
    }
    merges = "\n".join(["#version: 0.2", *_merges(), ""])
    (folder / "merges.txt").write_text(merges, encoding="utf-8", newline="\n")
    _write_json(folder / "vocab.json", clip_vocabulary())
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(folder / "tokenizer_config.json", settings)
    return folder


def _write_json(path: Path, tree: object) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")
