"""Key tables of weights files, written short: `blocks.{0-3}.to_q.weight` stands for four tensors of one shape."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from recipe_runner.weights.modules import Shape

_RANGES = re.compile(r"\{([0-9,-]+)\}")
_NUMBER = re.compile(r"(?<![^._])\d+(?![^._])")


def expand(tensors: Mapping[str, list[int]]) -> dict[str, Shape]:
    """Every tensor that short names stand for."""
    return {name: tuple(shape) for short, shape in tensors.items() for name in _names(short)}


def _names(short: str) -> Iterable[str]:
    parts = _RANGES.split(short)
    choices = [_numbers(part) if number % 2 else [part] for number, part in enumerate(parts)]
    return ("".join(chosen) for chosen in itertools.product(*choices))


def _numbers(text: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += [str(number) for number in range(int(first), int(last or first) + 1)]
    return found


def shorten(shapes: Mapping[str, Shape]) -> dict[str, list[int]]:
    """Short names for these tensors; those that differ in numbers alone and have one shape are written as one."""
    groups: dict[tuple[tuple[str, ...], Shape], list[tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        numbers = tuple(int(found) for found in _NUMBER.findall(name))
        groups.setdefault((tuple(_NUMBER.split(name)), shape), []).append(numbers)
    short: dict[str, list[int]] = {}
    for (parts, shape), places in groups.items():
        for choices in _products(places):
            written = [_written(choice) for choice in choices]
            name = "".join(a + b for a, b in itertools.zip_longest(parts, written, fillvalue=""))
            short[name] = list(shape)
    return short


def _products(places: list[tuple[int, ...]]) -> list[tuple[tuple[int, ...], ...]]:
    """The places as products of sets of numbers, joined from the right."""
    found: list[tuple[tuple[int, ...], ...]] = [tuple((number,) for number in place) for place in places]
    for position in reversed(range(len(places[0]))):
        joined: dict[tuple[Any, ...], list[int]] = {}
        for choice in found:
            rest = (*choice[:position], *choice[position + 1 :])
            joined.setdefault(rest, []).extend(choice[position])
        found = [(*rest[:position], tuple(sorted(own)), *rest[position:]) for rest, own in joined.items()]
    return found


def _written(numbers: tuple[int, ...]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "{" + ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "}"


def read_key_table(path: Path) -> dict[str, Any]:
    """A table with its tensors written out."""
    tree: dict[str, Any] = json.loads(path.read_text())
    return {**tree, "tensors": expand(tree["tensors"])}


def write_key_table(path: Path, about: str, expect: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Write a table, one short name a line."""
    short = shorten(shapes)
    if expand(short) != dict(shapes):
        message = f"BUG: {path.stem} does not survive being shortened"
        raise AssertionError(message)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in short.items())
    text = f'{{\n "about": {json.dumps(about)},\n "expect": {json.dumps(expect)},\n "tensors": {{\n{lines}\n }}\n}}\n'
    path.write_text(text)
