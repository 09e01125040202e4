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
    """One combination. `values` is by axis, in the axes' order; `tree` is the recipe without its matrix.

    `chosen` is the place of each axis, and the index of its value. Trees of variants share what they have in common:
    none may be changed.
    """

    index: int
    values: Mapping[str, Json]
    tree: Mapping[str, Json]
    chosen: tuple[tuple[RecipePath, int], ...]

    def section(self, *path: str) -> Section:
        """What the section at `path` is told by among all variants of the recipe: equal where no axis makes it differ.

        It is the index of the value of each axis that sets the section, a part of it, or what it is a part of.
        """
        return tuple([index for axis, index in self.chosen if axis[: len(path)] == path[: len(axis)]])


class PromptsById:
    """The prompts of a recipe's variants by id. Variants share the list, which may be long, and every image asks."""

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self._found: dict[Section, Mapping[str, Mapping[str, Json]]] = {}

    def find(self, variant: Variant, name: str) -> Mapping[str, Json]:
        """The prompt called `name` of a variant, as it is written; {} where there is none."""
        section = variant.section("prompts")
        if section not in self._found:
            prompts = cast("Sequence[Mapping[str, Json]]", variant.tree.get("prompts", ()))
            self._found[section] = {prompt_id(entry, place): entry for place, entry in enumerate(prompts)}
        return self._found[section].get(name, {})


def variants(document: Document) -> tuple[Variant, ...]:
    """All variants of a checked recipe, the first axis changing slowest; one without values without a matrix."""
    matrix = document.tree.get("matrix") or {}
    tree: Json = {key: value for key, value in document.tree.items() if key != "matrix"}
    checked = cast("Mapping[str, list[Json]]", matrix)
    axes = [(text, locate(tree, parse_path(text)), values) for text, values in checked.items()]
    return tuple(Variant(index, *combined) for index, combined in enumerate(_combined(tree, axes)))


def _combined(
    tree: Json, axes: Sequence[tuple[str, RecipePath, Sequence[Json]]]
) -> Iterator[tuple[Mapping[str, Json], Mapping[str, Json], tuple[tuple[RecipePath, int], ...]]]:
    """Values by axis, the tree that they make, and which value of each axis it is."""
    # Axis by axis, so that a tree is copied along one path only, and shared by all combinations of the later axes.
    if not axes:
        yield {}, cast("Mapping[str, Json]", tree), ()
        return
    (text, path, values), rest = axes[0], axes[1:]
    for index, value in enumerate(values):
        for others, made, chosen in _combined(replaced(tree, path, value), rest):
            yield {text: value, **others}, made, ((path, index), *chosen)
