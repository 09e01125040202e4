"""Which part of the recipe's schema stands for a path: what may stand there, and which names there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.paths import RecipePath

Schema = Mapping[str, Any]


class NoSuchPartError(LookupError):
    """The language has no such name. `depth` is the segment's index in the path, `known` are the names there are."""

    def __init__(self, depth: int, known: Sequence[str]) -> None:
        """Say where, and what there is instead."""
        super().__init__(depth)
        self.depth = depth
        self.known = tuple(known)


def schema_at(root: Schema, tree: Json, path: RecipePath) -> Schema:
    """The schema of the value at `path` of the recipe `tree`, which need not have that value.

    Raises:
        NoSuchPartError: when no recipe can have a value there.
    """
    schema, here = root, tree
    for depth, segment in enumerate(path):
        applicable = list(_applicable(schema, here, root))
        found = next((part for part in (_part(one, segment) for one in applicable) if part is not None), None)
        if found is None:
            names = [str(name) for one in applicable for name in one.get("properties", {})]
            raise NoSuchPartError(depth, list(dict.fromkeys([*(here if isinstance(here, Mapping) else ()), *names])))
        schema, here = _dereferenced(found, root), _child(here, segment)
    return schema


def _applicable(schema: Schema, value: Json, root: Schema) -> Iterator[Schema]:
    schema = _dereferenced(schema, root)
    for conditional in schema.get("allOf", ()):
        ((name, wanted),) = conditional["if"]["properties"].items()
        if isinstance(value, Mapping) and value.get(name) == wanted["const"]:
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
    further = schema.get("additionalProperties", False if "properties" in schema or "items" in schema else None)
    if further is True or (further is None and schema.get("type") == "object" and "allOf" not in schema):
        return {}
    return further if isinstance(further, Mapping) else {} if not schema else None


def _child(value: Json, segment: str | int) -> Json:
    if isinstance(segment, str):
        return value.get(segment) if isinstance(value, Mapping) else None
    return value[segment] if isinstance(value, Sequence) and not isinstance(value, str) else None
