"""The matrix: every combination of the axes' values is a variant of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from recipe_runner.document.paths import RecipePath, locate, parse_path, prompt_id, replaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from recipe_runner.canonical import Json
    from recipe_runner.document.document import Document


Section = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination. `values` has the value of each axis, in order; `tree` is the recipe without its matrix.

    `chosen` has the path of each axis and the index of its value. Trees of variants share their common parts: do not
    change a tree.
    """

    index: int
    values: Mapping[str, Json]
    tree: Mapping[str, Json]
    chosen: tuple[tuple[RecipePath, int], ...]

    def section(self, *path: str) -> Section:
        """A key of the section at `path`, equal for all variants in which the section is equal.

        It has the index of the value of each axis that sets the section, a part of it, or a value that contains it.
        """
        return tuple([index for axis, index in self.chosen if axis[: len(path)] == path[: len(axis)]])


class PromptsById:
    """The prompts of a recipe's variants by id, cached because variants share long lists and every image asks."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._found: dict[Section, Mapping[str, Mapping[str, Json]]] = {}

    def find(self, variant: Variant, name: str) -> Mapping[str, Json]:
        """The prompt of a variant with the id `name`, as written; {} when there is none."""
        section = variant.section("prompts")
        if section not in self._found:
            prompts = cast("Sequence[Mapping[str, Json]]", variant.tree.get("prompts", ()))
            self._found[section] = {prompt_id(entry, place): entry for place, entry in enumerate(prompts)}
        return self._found[section].get(name, {})


def variants(document: Document) -> tuple[Variant, ...]:
    """All variants of a valid recipe, the first axis changing slowest; one variant when there is no matrix."""
    matrix = document.tree.get("matrix") or {}
    tree: Json = {key: value for key, value in document.tree.items() if key != "matrix"}
    checked = cast("Mapping[str, list[Json]]", matrix)
    axes = [(text, locate(tree, parse_path(text)), values) for text, values in checked.items()]
    return tuple(Variant(index, *combined) for index, combined in enumerate(_combined(tree, axes)))


def _combined(
    tree: Json, axes: Sequence[tuple[str, RecipePath, Sequence[Json]]]
) -> Iterator[tuple[Mapping[str, Json], Mapping[str, Json], tuple[tuple[RecipePath, int], ...]]]:
    """For each combination: the values by axis, the resulting tree, and the index of each value."""
    # One axis at a time: each tree is copied along one path only, and all combinations of the later axes share it.
    if not axes:
        yield {}, cast("Mapping[str, Json]", tree), ()
        return
    (text, path, values), rest = axes[0], axes[1:]
    for index, value in enumerate(values):
        for others, made, chosen in _combined(replaced(tree, path, value), rest):
            yield {text: value, **others}, made, ((path, index), *chosen)
