"""Find the part of the recipe's schema for a path: which values and which names are allowed there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recipe_runner.canonical import mapping

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.paths import RecipePath

Schema = Mapping[str, Any]
_SAYS_PARTS = frozenset({"properties", "additionalProperties", "items", "allOf"})


class NoSuchPartError(LookupError):
    """Recipes have no such name. `depth` is the segment's index in the path, `known` are the existing names."""

    def __init__(self, depth: int, known: Sequence[str]) -> None:
        """Hold the index and the known names."""
        super().__init__(depth)
        self.depth = depth
        self.known = tuple(known)


def schema_at(root: Schema, tree: Json, path: RecipePath) -> Schema:
    """The schema of the value at `path` of the recipe `tree`; the value may be missing.

    Raises:
        NoSuchPartError: no recipe can have a value there.
    """
    schema, here = root, tree
    for depth, segment in enumerate(path):
        applicable = list(_applicable(schema, here, root))
        found = _first_part(applicable, segment)
        if found is None:
            names = [*mapping(here)]
            for one in applicable:
                names += one.get("properties", {})
            raise NoSuchPartError(depth, list(dict.fromkeys(names)))
        schema, here = _dereferenced(found, root), _child(here, segment)
    return schema


def _first_part(schemas: Sequence[Schema], segment: str | int) -> Schema | None:
    for schema in schemas:
        part = _part(schema, segment)
        if part is not None:
            return part
    return None


def _applicable(schema: Schema, value: Json, root: Schema) -> Iterator[Schema]:
    schema = _dereferenced(schema, root)
    for conditional in schema.get("allOf", ()):
        ((name, wanted),) = conditional["if"]["properties"].items()
        if mapping(value).get(name) == wanted["const"]:
            yield _dereferenced(conditional["then"], root)
    yield schema


def _dereferenced(schema: Schema, root: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: Schema = root["$defs"][reference.rpartition("/")[2]]
    return target


def _part(schema: Schema, segment: str | int) -> Schema | None:
    if isinstance(segment, int):
        items: Schema | None = schema.get("items")
        return items
    properties = schema.get("properties", {})
    if segment in properties:
        part: Schema = properties[segment]
        return part
    further = schema.get("additionalProperties")
    if isinstance(further, Mapping):
        return further
    return {} if further is True or _allows_anything(schema) else None


def _allows_anything(schema: Schema) -> bool:
    """Whether a schema says nothing about the parts of its value."""
    if not schema:
        return True
    return schema.get("type") == "object" and _SAYS_PARTS.isdisjoint(schema)


def _child(value: Json, segment: str | int) -> Json:
    if isinstance(segment, str):
        return mapping(value).get(segment)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value[segment]
    return None
