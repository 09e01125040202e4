"""Key tables of weights files, written short: `blocks.{0-3}.to_q.weight` stands for four tensors of one shape."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from recipe_runner.weights.checkpoint.original_layout import expand

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from recipe_runner.weights.modules import Shape

_NUMBER = re.compile(r"(?<![^._])\d+(?![^._])")


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
    head = f' "about": {json.dumps(about)},\n "expect": {json.dumps(expect)},\n'
    path.write_text(f'{{\n{head} "tensors": {{\n{written(shapes)}\n }}\n}}\n')


def written(shapes: Mapping[str, Shape]) -> str:
    """The short names of these tensors and their shapes as JSON, one a line."""
    short = shorten(shapes)
    if expand(short) != dict(shapes):
        message = f"BUG: {next(iter(shapes))} and the others do not survive being shortened"
        raise AssertionError(message)
    return ",\n".join(f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in short.items())
