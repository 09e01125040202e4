"""The reference of the recipe language, from its JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipe_runner.cli.schema import schema_files

Schema = Mapping[str, Any]
_KINDS = {"Lora": "lora", "TextualInversion": "textual_inversion", "IpAdapter": "ip_adapter", "Merge": "merge"}
_INTRO = """\
A recipe is a YAML file, and every key is in the tables below. A key that is not there is an error. Keys that are not
marked *required* may be left out. Paths in a recipe are relative to the recipe's own folder, never to the working
directory. `recipe-runner schema` prints the JSON Schema that this page is made from; an editor with a YAML language
server completes and checks recipes with it ([editor](../how-to/editor.md)).

Variants x prompts x seeds = images: a variant is one combination of the values in [`matrix`](#matrix).
"""


def recipe_page(note: str) -> str:
    """Every key of a recipe: type, default, meaning and an example."""
    schema = json.loads(schema_files()["recipe.v1.schema.json"])
    definitions = schema["$defs"]
    lines = ["# The recipe", note, _INTRO, "## Top level", "", *_table(schema, links=True)]
    for name, part in schema["properties"].items():
        lines += _section(name, part, definitions)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _section(name: str, part: Schema, definitions: Schema) -> Iterator[str]:
    if name in ("recipe", "name", "description"):
        return
    yield from ("", f"## {name}", "", str(part["description"]), "")
    if name == "adapters":
        yield from ("Each adapter has a name of your choice, and `kind` decides which other keys it has.", "")
        for definition, kind in sorted(_KINDS.items(), key=lambda pair: pair[1]):
            yield from (f"### kind: {kind}", "", definitions[definition]["description"], "")
            yield from _table(definitions[definition])
            yield ""
        return
    target = _target(part, definitions)
    if "$ref" in target.get("items", {}):
        yield from ("Each entry of the list:", "")
        target = _target(target["items"], definitions)
    if target.get("properties"):
        yield from _table(target)
    if name == "sampling":
        yield "\nAny other argument of the pipeline's call may stand here too, under diffusers' own name; it is checked"
        yield "against the pipeline class."
    yield from ("", *_example(name, part))


def _example(name: str, part: Schema) -> list[str]:
    example = json.dumps(part["examples"][0], ensure_ascii=False)
    return ["```yaml", f"{name}: {example}", "```"]


def _target(part: Schema, definitions: Schema) -> Schema:
    reference = part.get("$ref")
    found: Schema = definitions[reference.rpartition("/")[2]] if reference else part
    return found


def _table(schema: Schema, *, links: bool = False) -> list[str]:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, part in schema["properties"].items():
        has_section = links and name not in ("recipe", "name", "description")
        key = f"[`{name}`](#{name})" if has_section else f"`{name}`"
        required = name in schema.get("required", ())
        rows.append(f"| {key} | {_type(part)} | {_default(part, required=required)} | {_meaning(part)} |")
        rows += _nested(name, part)
    return rows


def _nested(name: str, part: Schema) -> Iterator[str]:
    """The keys of a mapping inside a section: one more row each. Sections have tables of their own."""
    if "$ref" in part:
        return
    named = part.get("additionalProperties")
    if isinstance(named, dict) and "properties" in named:
        yield from _nested(f"{name}.NAME", named)
    for key, inner in part.get("properties", {}).items():
        default = _default(inner, required=key in part.get("required", ()))
        yield f"| `{name}.{key}` | {_type(inner)} | {default} | {_meaning(inner)} |"


def _type(part: Schema) -> str:
    if "$ref" in part:
        return "mapping"
    if "const" in part:
        return f"`{json.dumps(part['const'])}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"] if value is not None)
    types = part.get("type", "any")
    names = [types] if isinstance(types, str) else [each for each in types if each != "null"]
    words = {"object": "mapping", "array": "list", "string": "text", "boolean": "true, false", "number": "number"}
    return " or ".join(words.get(name, name) for name in names)


def _default(part: Schema, *, required: bool) -> str:
    if required:
        return "*required*"
    return f"`{json.dumps(part['default'])}`" if "default" in part else ""


def _meaning(part: Schema) -> str:
    text = str(part.get("description", "")).replace("|", "\\|")
    examples = part.get("examples")
    if examples and "const" not in part and "$ref" not in part:
        text += f" Example: `{json.dumps(examples[0], ensure_ascii=False)}`"
    return text
