"""The matrix: every combination of the axes' values is a variant of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from recipe_runner.paths import Path, locate, parse_path, replaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from recipe_runner.canonical import Json
    from recipe_runner.document import Document


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination. `values` is by axis, in the axes' order; `tree` is the recipe without its matrix.

    Trees of variants share what they have in common: none may be changed.
    """

    index: int
    values: Mapping[str, Json]
    tree: Mapping[str, Json]


def variants(document: Document) -> tuple[Variant, ...]:
    """All variants of a checked recipe, the first axis changing slowest; one without values without a matrix."""
    matrix = document.tree.get("matrix") or {}
    tree: Json = {key: value for key, value in document.tree.items() if key != "matrix"}
    checked = cast("Mapping[str, list[Json]]", matrix)
    axes = [(text, locate(tree, parse_path(text)), values) for text, values in checked.items()]
    return tuple(Variant(index, values, made) for index, (values, made) in enumerate(_combined(tree, axes)))


def _combined(
    tree: Json, axes: Sequence[tuple[str, Path, Sequence[Json]]]
) -> Iterator[tuple[Mapping[str, Json], Mapping[str, Json]]]:
    # Axis by axis, so that a tree is copied along one path only, and shared by all combinations of the later axes.
    if not axes:
        yield {}, cast("Mapping[str, Json]", tree)
        return
    (text, path, values), rest = axes[0], axes[1:]
    for value in values:
        for others, made in _combined(replaced(tree, path, value), rest):
            yield {text: value, **others}, made
