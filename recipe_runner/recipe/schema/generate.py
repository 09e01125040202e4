"""The JSON Schemas in `schemas/`, generated from the pydantic types.

pydantic's schemas are reshaped so that editors complete them and every mistake has one place: unions of different
types become one schema with several types, adapters are told apart by `kind` with if/then, names of mappings are
checked as names. No anyOf is left where a reader would have to guess which branch was meant.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ANNOTATIONS = ("title", "description", "default", "examples")


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
    head |= {key: value for key, value in body.items() if key not in head}
    return head | ({"$defs": {name: shaped[name] for name in sorted(used)}} if used else {})


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
        # A reference keeps its annotations beside it; a default of all defaults says nothing.
        kept = {key: value for key, value in schema.items() if key != "default"}
        # pydantic leaves out what the type itself says.
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return {key: target[key] for key in ("title", "description") if key in target} | kept
    shaped = {
        key: {name: _shaped(part, definitions) for name, part in value.items()} if key == "properties"
        else value if key in ("examples", "default", "enum", "const", "required")
        else _shaped(value, definitions)
        for key, value in schema.items()
    }  # fmt: skip
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


def _merged(schema: Schema, definitions: Schema) -> Schema:
    """A union of branches with different types as one schema: each keyword concerns one type only."""
    branches = [_inlined(branch, definitions) for branch in schema["anyOf"]]
    outer = {key: schema[key] for key in _ANNOTATIONS if key in schema and schema[key] is not None}
    types = [branch.get("type") for branch in branches]
    if not all(isinstance(type_, str) for type_ in types) or len(set(types)) < len(types):
        return {"anyOf": [_shaped(branch, definitions) for branch in schema["anyOf"]], **outer}
    merged: Schema = {"type": types}
    for branch in branches:
        merged |= {key: value for key, value in branch.items() if key not in ("type", *_ANNOTATIONS)}
    if "enum" in merged:
        if set(types) != {"string", "null"}:
            message = "BUG: a union of an enumeration and something else"
            raise AssertionError(message)
        merged["enum"] = [*merged["enum"], None]
    return merged | outer


def _inlined(branch: Schema, definitions: Schema) -> Schema:
    reference = branch.get("$ref")
    target: Schema = definitions[reference.rpartition("/")[2]] if reference else branch
    shaped: Schema = _shaped(target, definitions)
    return shaped


def _by_kind(schema: Schema) -> Schema:
    """A discriminated union as if/then: a mistake is then told for the kind that was written."""
    discriminator = schema["discriminator"]
    name, mapping = discriminator["propertyName"], discriminator["mapping"]
    outer = {key: schema[key] for key in _ANNOTATIONS if key in schema}
    return {
        "type": "object",
        **outer,
        "required": [name],
        "properties": {
            name: {
                "title": name.capitalize(),
                "description": "What it is: it decides which other keys there are.",
                "examples": list(mapping)[:1],
                "enum": list(mapping),
            }
        },
        "allOf": [
            {"if": {"properties": {name: {"const": value}}, "required": [name]}, "then": {"$ref": reference}}
            for value, reference in mapping.items()
        ],
    }


def _used(schema: Any, definitions: Schema) -> set[str]:
    found: set[str] = set()
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str) and (name := reference.rpartition("/")[2]) not in found:
                found.add(name)
                pending.append(definitions[name])
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
    return found
