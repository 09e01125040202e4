"""The matrix: every combination of the axes' values is a variant of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from recipe_runner.document.paths import Path, locate, parse_path, prompt_id, replaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from recipe_runner.canonical import Json
    from recipe_runner.document.document import Document


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination. `values` is by axis, in the axes' order; `tree` is the recipe without its matrix.

    Trees of variants share what they have in common: none may be changed.
    """

    index: int
    values: Mapping[str, Json]
    tree: Mapping[str, Json]


class PromptsById:
    """The prompts of variants by id. Variants share the list, which may be long, and every image asks."""

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self._found: dict[int, tuple[Json, Mapping[str, Mapping[str, Json]]]] = {}

    def find(self, tree: Mapping[str, Json], name: str) -> Mapping[str, Json]:
        """The prompt called `name` in the `tree` of a variant, as it is written; {} where there is none."""
        prompts = cast("Sequence[Mapping[str, Json]]", tree.get("prompts", ()))
        if id(prompts) not in self._found:
            # The list is held too: no other may come to have its identity.
            by_id = {prompt_id(entry, place): entry for place, entry in enumerate(prompts)}
            self._found[id(prompts)] = prompts, by_id
        return self._found[id(prompts)][1].get(name, {})


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
