"""The JSON Schemas in `schemas/`, generated from the pydantic types.

pydantic's schemas are reshaped so that editors can complete them and every mistake has one place: a union of different
types becomes one schema with several types, `kind` selects the type of an adapter with if/then, and names in mappings
have a pattern. No anyOf is left in which the intended branch would be a guess.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ANNOTATIONS = ("title", "description", "default", "examples")
_PLAIN = ("examples", "default", "enum", "const", "required")
"""Keywords whose values are not schemas."""


def schema_text(model: type[BaseModel], name: str, title: str) -> str:
    """The bytes of the schema file called `name`, as text."""
    schema = generate_schema(model, f"urn:recipe_runner:{name.removesuffix('.schema.json')}", title)
    return json.dumps(schema, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def generate_schema(model: type[BaseModel], identifier: str, title: str) -> Schema:
    """The JSON Schema (draft 2020-12) of `model`, reshaped for people and editors."""
    raw = model.model_json_schema(by_alias=True)
    definitions = raw.pop("$defs", {})
    shaped = {name: _shaped(definition, definitions) for name, definition in definitions.items()}
    body = _shaped(raw, definitions)
    used = _used(body, shaped)
    head: Schema = {"$schema": DIALECT, "$id": identifier, "title": title}
    head |= _without(body, *head)
    if used:
        head["$defs"] = _selected(shaped, sorted(used))
    return head


def _selected(schema: Schema, keys: Iterable[str]) -> Schema:
    """The entries of a schema under `keys`, in the order of `keys`."""
    return {key: schema[key] for key in keys if key in schema}


def _without(schema: Schema, *keys: str) -> Schema:
    """The entries of a schema except those under `keys`."""
    return {key: value for key, value in schema.items() if key not in keys}


def _referred(schema: Schema, definitions: Schema) -> Schema:
    """The definition that `$ref` of a schema names."""
    target: Schema = definitions[schema["$ref"].rpartition("/")[2]]
    return target


def _shaped(schema: Any, definitions: Schema) -> Any:
    if isinstance(schema, list):
        return [_shaped(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "discriminator" in schema:
        return _by_kind(schema)
    if "anyOf" in schema:
        return _merged(schema, definitions)
    if set(schema) > {"$ref"}:
        # A reference keeps its annotations; pydantic leaves out those of the type. A default of defaults is no help.
        return _selected(_referred(schema, definitions), ("title", "description")) | _without(schema, "default")
    shaped: Schema = {}
    for key, value in schema.items():
        shaped[key] = _shaped_entry(key, value, definitions)
    return _simplified(shaped)


def _simplified(shaped: Schema) -> Schema:
    """The schema without what pydantic adds and with the names of mappings as `propertyNames`."""
    if "const" in shaped:
        shaped.pop("minimum", None)
        shaped.pop("maximum", None)
    if "default" in shaped and shaped["default"] in (None, {}):
        del shaped["default"]
    if "patternProperties" in shaped:
        ((pattern, part),) = shaped.pop("patternProperties").items()
        shaped["propertyNames"] = {"pattern": pattern}
        shaped["additionalProperties"] = part
    return shaped


def _shaped_entry(key: str, value: Any, definitions: Schema) -> Any:
    if key == "properties":
        return {name: _shaped(part, definitions) for name, part in value.items()}
    if key in _PLAIN:
        return value
    return _shaped(value, definitions)


def _merged(schema: Schema, definitions: Schema) -> Schema:
    """A union of branches with different types as one schema: each keyword applies to one type only."""
    branches = [_inlined(branch, definitions) for branch in schema["anyOf"]]
    outer = {key: schema[key] for key in _ANNOTATIONS if key in schema and schema[key] is not None}
    types = [branch.get("type") for branch in branches]
    if not _are_different(types):
        return {"anyOf": [_shaped(branch, definitions) for branch in schema["anyOf"]], **outer}
    merged: Schema = {"type": types}
    for branch in branches:
        merged |= _without(branch, "type", *_ANNOTATIONS)
    if "enum" in merged:
        if set(types) != {"string", "null"}:
            raise AssertionError("BUG: a union of an enumeration and another type")
        merged["enum"] = [*merged["enum"], None]
    return merged | outer


def _are_different(types: Sequence[Any]) -> bool:
    names = {type_ for type_ in types if isinstance(type_, str)}
    return len(names) == len(types)


def _inlined(branch: Schema, definitions: Schema) -> Schema:
    if "$ref" in branch:
        branch = _referred(branch, definitions)
    shaped: Schema = _shaped(branch, definitions)
    return shaped


def _by_kind(schema: Schema) -> Schema:
    """A discriminated union as if/then, so that mistakes are reported for the kind that is written."""
    discriminator = schema["discriminator"]
    name, mapping = discriminator["propertyName"], discriminator["mapping"]
    branches = []
    for value, reference in mapping.items():
        condition = {"properties": {name: {"const": value}}, "required": [name]}
        branches.append({"if": condition, "then": {"$ref": reference}})
    return {
        "type": "object",
        **_selected(schema, _ANNOTATIONS),
        "required": [name],
        "properties": {
            name: {
                "title": name.capitalize(),
                "description": "The kind, which decides the other keys.",
                "examples": list(mapping)[:1],
                "enum": list(mapping),
            }
        },
        "allOf": branches,
    }


def _used(schema: Any, definitions: Schema) -> set[str]:
    found: set[str] = set()
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            name = reference.rpartition("/")[2] if isinstance(reference, str) else ""
            if name and name not in found:
                found.add(name)
                pending.append(definitions[name])
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
    return found
