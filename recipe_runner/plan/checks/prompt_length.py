"""Find the words of the prompts that their encoders do not read, from the tokenizers' files without transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recipe_runner.pipelines.family import t5_length
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.plan.resolved_recipe import ResolvedPrompt, ResolvedRecipe, ResolvedVariant
from recipe_runner.problems.problem import Problem
from recipe_runner.problems.wording import rest_of
from recipe_runner.recipe.learned_tokens import occurrences
from recipe_runner.sources.source import Source

_NUMBERS = ("", "_2", "_3")
_LONGEST_WINDOW = 10_000
"""Tokenizers without a limit state a very large one."""
_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class _Reader:
    """A tokenizer: its files by name, how many tokens its encoder reads, and how many of them are marks.

    `base` is the number of its base, `number` the end of its encoder's name.
    """

    base: int
    number: str
    files: Mapping[str, bytes]
    window: int
    marks: int


def window_warnings(recipe: ResolvedRecipe) -> Iterator[Problem]:
    """W751 for each prompt that is longer than its encoder reads, with the words that are cut off."""
    seen: set[tuple[str, str]] = set()
    readers: dict[int, list[_Reader]] = {}
    encoders = _Encoders()
    for variant in recipe.variants:
        if variant.base.number not in readers:
            readers[variant.base.number] = list(_readers(variant))
        for prompt in variant.prompts:
            for reader in readers[variant.base.number]:
                vectors = _vectors(variant, f"text_encoder{reader.number}")
                for name, text in _read(prompt, reader.number, variant):
                    lost = encoders.lost(reader, text, vectors)
                    if lost and (name + text, reader.number) not in seen:
                        seen.add((name + text, reader.number))
                        yield _warning(prompt, reader, name, lost)


def _warning(prompt: ResolvedPrompt, reader: _Reader, name: str, lost: str) -> Problem:
    encoder = f"text encoder{reader.number.replace('_', ' ')}"
    message = f"{name}: {encoder} reads {reader.window} tokens; it does not see `{lost}`"
    return Problem.warning(prompt.origin, "W751", message, "shorten the prompt, or put what matters first")


def _read(prompt: ResolvedPrompt, number: str, variant: ResolvedVariant) -> Iterator[tuple[str, str]]:
    """The texts that an encoder reads, with their names; the negative one only if images are guided."""
    names = ["prompt"]
    if variant.is_guided(prompt):
        names.append("negative_prompt")
    for name in names:
        text = prompt.texts.get(f"{name}{number}") or prompt.texts.get(name)
        if text:
            yield name, text


def _readers(variant: ResolvedVariant) -> Iterator[_Reader]:
    base = variant.base
    for number in _NUMBERS:
        if base.components.get(f"text_encoder{number}", "") is None:
            continue
        files = _tokenizer_files(base, f"tokenizer{number}")
        try:
            config = json.loads(files.get("tokenizer_config.json", b"{}"))
        except ValueError:
            continue
        if not files or not isinstance(config, dict):
            continue
        is_t5 = "T5" in str(config.get("tokenizer_class"))
        window = _window(variant, config, is_t5=is_t5)
        marks = 2
        if is_t5:
            marks = 1
        if 0 < window < _LONGEST_WINDOW:
            yield _Reader(base.number, number, files, window, marks)


def _window(variant: ResolvedVariant, config: Mapping[str, Any], *, is_t5: bool) -> int:
    """How many tokens an encoder reads, by its tokenizer's configuration; 0 if it is unknown."""
    if is_t5:
        asked = variant.sampling.get("max_sequence_length")
        if isinstance(asked, int):
            return asked
        return t5_length(variant.base.pipeline)
    length = config.get("model_max_length")
    if not isinstance(length, int):
        return 0
    return length


def _tokenizer_files(base: ResolvedBase, name: str) -> dict[str, bytes]:
    """The tokenizer's files by their names; empty if it is not on this machine."""
    source, prefix = base.part_folder(name)
    if not isinstance(source, Source):
        return {}
    found = {}
    for file in source.files:
        short = file.name.removeprefix(prefix)
        if short in _FILES and file.name == prefix + short:
            found[short] = source.path(file.name).read_bytes()
    return found


def _vectors(variant: ResolvedVariant, encoder: str) -> dict[str, int]:
    """How many tokens of a prompt each learned token takes in a text encoder that has learned it."""
    found: dict[str, int] = {}
    for adapter in variant.adapters:
        for token, counts in adapter.tokens.items():
            if encoder in counts:
                found[token] = counts[encoder]
    return found


class _Encoders:
    """Tokenizers, each made once from its files, and only if a prompt is long enough to be cut."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[str, bytes], ...], Any] = {}
        self._lost: dict[tuple[int, str, str, tuple[tuple[str, int], ...]], str] = {}

    def lost(self, reader: _Reader, text: str, vectors: Mapping[str, int]) -> str:
        """The end of `text` that is not read; empty when all of it is read."""
        # Variants share their base's tokenizers and most of their prompts.
        key = reader.base, reader.number, text, tuple(vectors.items())
        if key not in self._lost:
            self._lost[key] = self._cut(reader, text, vectors)
        return self._lost[key]

    def _cut(self, reader: _Reader, text: str, vectors: Mapping[str, int]) -> str:
        room = reader.window - reader.marks
        # A token has at least one byte of the text, and a learned token takes one token for each of its vectors.
        most = len(text.encode()) + sum(vectors.values()) * len(text)
        if most <= room:
            return ""
        tokenizer = self._tokenizer(reader)
        if tokenizer is None:
            return ""
        begins: list[int] = []
        place = 0
        for found in occurrences(text, vectors):
            begins += _begins(tokenizer, text, place, found.start)
            begins += [found.start] * vectors[found.token]
            place = found.end
        begins += _begins(tokenizer, text, place, len(text))
        if len(begins) <= room:
            return ""
        return rest_of(text, begins[room])

    def _tokenizer(self, reader: _Reader) -> Any:
        key = tuple(sorted((name, data) for name, data in reader.files.items() if name != "tokenizer_config.json"))
        if key not in self._made:
            self._made[key] = _made(reader.files)
        return self._made[key]


def _begins(tokenizer: Any, text: str, start: int, end: int) -> list[int]:
    """The start of each token of a part of the text."""
    encoded = tokenizer.encode(text[start:end], add_special_tokens=False)
    return [start + first for first, _ in encoded.offsets]


def _made(files: Mapping[str, bytes]) -> Any:
    """The tokenizer of these files; None for a format that is not supported (sentencepiece)."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - only for long prompts

    try:
        if "tokenizer.json" not in files:
            if not {"vocab.json", "merges.txt"} <= set(files):
                return None
            return _clip(files)
        found = Tokenizer.from_str(files["tokenizer.json"].decode())
    except Exception:  # noqa: BLE001 - the library raises nothing narrower; a run refuses such a file
        return None
    found.no_truncation()
    found.no_padding()
    return found


def _clip(files: Mapping[str, bytes]) -> Any:
    """CLIP's tokenizer, from its vocabulary and merges."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers  # noqa: PLC0415

    lines = files["merges.txt"].decode().splitlines()
    merges = []
    for line in lines:
        if line and not line.startswith("#version"):
            first, second = line.split()
            merges.append((first, second))
    vocabulary = json.loads(files["vocab.json"])
    model = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", continuing_subword_prefix="")
    found = Tokenizer(model)
    # Source: transformers `convert_slow_tokenizer.py`, CLIPConverter.
    found.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    found.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return found
