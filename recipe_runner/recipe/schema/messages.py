"""Schema errors in plain words: what was found, what is allowed, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from recipe_runner.disk.inside import FILE_PATTERN, FORM, URL_FILE_PATTERN
from recipe_runner.document.paths import RecipePath, format_path
from recipe_runner.problems.suggest import did_you_mean
from recipe_runner.problems.wording import kind_of, listed, shown, written
from recipe_runner.recipe.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from jsonschema.exceptions import ValidationError

_TYPES = {"string": "a text", "number": "a number", "integer": "an integer", "boolean": "true or false",
          "array": "a list", "object": "a mapping", "null": "null"}  # fmt: skip
_YAML_1_1 = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_BOUNDS = {"minimum": "at least {}", "maximum": "at most {}", "exclusiveMinimum": "more than {}",
           "exclusiveMaximum": "less than {}"}  # fmt: skip
_LESSER = ("enum", "const", "multipleOf")
_OTHER_WORDS = {"fp16": "float16", "half": "float16", "fp32": "float32", "full": "float32", "bf16": "bfloat16",
                "jpg": "jpeg", "textual-inversion": "textual_inversion", "embedding": "textual_inversion",
                "ip-adapter": "ip_adapter", "lycoris": "lora", "locon": "lora"}  # fmt: skip
_NAMES = "Letters, digits, `_` and `-`, starting with a letter or digit; at most 64."
_FORMS = {
    FILE_PATTERN: FORM,
    URL_FILE_PATTERN: "The file of a URL has one plain name: letters, digits, `_`, `.` and `-`.",
    r"^[a-z0-9][a-z0-9-]{0,99}$": "Lower-case letters, digits and `-`, starting with a letter or digit; at most 100.",
    r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$": _NAMES,
    r"^(auto|cpu|cuda(:[0-9]{1,3})?)$": "Write `auto`, `cpu`, `cuda`, or `cuda:1` with the number of a device.",
    r"^[^\x00-\x20\x7f]+$": "Write one word, without spaces.",
    r"^[^\x00-\x1f\x7f]+$": "Write it on one line, without control characters.",
}


@dataclass(frozen=True, slots=True)
class _Error:
    """What is used of a ValidationError, whose own types allow everything to be missing."""

    validator: str
    wanted: Any
    instance: Any
    schema: Mapping[str, Any]
    message: str


def explanations(errors: Iterable[ValidationError], prefix: RecipePath = ()) -> Iterator[Finding]:
    """Each error explained; where an error stands for several mistakes, several.

    `prefix` is the path of what was checked, for errors of a part of the recipe.
    """
    found = list(errors)
    # Of what has the wrong type, or is out of range, nothing else is worth saying.
    wrong = {tuple(error.absolute_path) for error in found if error.validator in ("type", *_BOUNDS)}
    for error in found:
        path: RecipePath = (*prefix, *error.absolute_path)
        if error.validator in _LESSER and tuple(error.absolute_path) in wrong:
            continue
        schema = cast("Mapping[str, Any]", error.schema)
        plain = _Error(str(error.validator), error.validator_value, error.instance, schema, error.message)
        if "propertyNames" in error.absolute_schema_path:
            yield _name(path, plain)
        elif plain.validator in _UNIONS:
            yield from _union(error, prefix)
        else:
            yield from _EXPLAIN.get(plain.validator, _other)(path, plain)


def _at(path: RecipePath) -> str:
    return f"`{format_path(path)}`" if path else "the recipe"


def _name(path: RecipePath, error: _Error) -> Finding:
    name = str(error.instance)
    what = "the empty text is no name" if not name else f"`{shown(name)}` is not a name"
    return Finding("E211", what, (*path, name), _FORMS.get(str(error.wanted), _NAMES), key=True)


def _unknown_keys(path: RecipePath, error: _Error) -> Iterator[Finding]:
    known = [str(name) for name in error.schema.get("properties", {})]
    place = f" in {_at(path)}" if path else ""
    unused = [name for name in known if name not in error.instance]
    for key in error.instance:
        if key not in known:
            hint = did_you_mean(key, unused or known, "Allowed" if not unused or unused == known else "Also allowed")
            if key in ("down", "mid", "up") and "unet" in known:
                hint = f"Blocks are parts of a component: write `unet: {{{key}: …}}`."
            yield Finding("E201", f"unknown key `{shown(key)}`{place}", (*path, key), hint, key=True)


def _missing(path: RecipePath, error: _Error) -> Iterator[Finding]:
    # jsonschema yields one error for each missing key, in the order of the list, and does not say which.
    properties = error.schema.get("properties", {})
    for name in error.wanted:
        if name not in error.instance and error.message.startswith(repr(name)):
            example = _example(name, properties.get(name, {}))
            if name == "kind":
                example = f"Write `kind: ` and one of {listed(properties['kind']['enum'])}."
            yield Finding("E202", f"{_at(path)} needs the key `{name}`", path, example, key=True)


def _example(name: str, schema: Mapping[str, Any]) -> str:
    examples = schema.get("examples")
    return f"For example: `{name}: {written(examples[0])}`" if examples else ""


def _type(path: RecipePath, error: _Error) -> Iterator[Finding]:
    wanted = [error.wanted] if isinstance(error.wanted, str) else list(error.wanted)
    needed = [_TYPES[name] for name in wanted if name != "null"]
    message = f"{_at(path)} is {kind_of(error.instance)}, where {listed(needed, 'or', quote=False)} is needed"
    yield Finding("E203", message, path, _type_hint(path, error, wanted))


def _type_hint(path: RecipePath, error: _Error, wanted: Sequence[str]) -> str:
    value = error.instance
    name = str(path[-1]) if path else ""
    if path[:1] == ("prompts",) and len(path) == 2 and isinstance(value, str):  # noqa: PLR2004
        return f"Write `prompt: {written(value)}`."
    if value is None:
        return "Write a value, or delete the key."
    if isinstance(value, dict) and "string" in wanted:
        return 'If it is a text, put it in quotes: "…".'
    if hint := _axis_hint(path, value) or _section_hint(name, value, error.schema):
        return hint
    items = error.schema.get("items", {})
    lists_scalars = "$ref" not in items and not (isinstance(value, str) and items.get("type") in ("integer", "number"))
    if isinstance(value, (str, int, float)) and (hint := _scalar_hint(value, wanted, lists_scalars=lists_scalars)):
        return hint
    return _example(name, error.schema) if name and not isinstance(path[-1], int) else ""


def _section_hint(name: str, value: object, schema: Mapping[str, Any]) -> str:
    """What to write for a section of which only its main key's value stands there."""
    main = next((key for key in ("model", "class") if key in schema.get("properties", {})), None)
    if main is None or not name or not isinstance(value, str):
        return ""
    return f"Write `{name}: {{{main}: {written(value)}}}`."


def _axis_hint(path: RecipePath, value: object) -> str:
    if isinstance(value, list) and path[-1:] == ("scale",):
        return f"Several scales are an axis: write `{format_path(path)}: {written(value)}` under `matrix`."
    if isinstance(value, dict) and path[:1] == ("matrix",):
        return "Write the whole path as one key, and a list of values: `adapters.style.scale: [0.0, 0.5, 1.0]`."
    return ""


def _scalar_hint(value: str | float, wanted: Sequence[str], *, lists_scalars: bool) -> str:
    hint = ""
    if isinstance(value, str) and "boolean" in wanted and value.lower() in _YAML_1_1:
        hint = f"Recipes are YAML 1.2: write `{_YAML_1_1[value.lower()]}`."
    elif isinstance(value, str) and {"number", "integer"} & set(wanted) and _is_numeric(value):
        hint = f"Write it without quotes: {value.strip()}."
    elif isinstance(value, float) and "integer" in wanted and value.is_integer():
        hint = f"Write {int(value)}."
    elif not isinstance(value, str) and "string" in wanted:
        hint = f'Put it in quotes: "{written(value)}".'
    elif "array" in wanted and lists_scalars:
        hint = f"Write a list: [{written(value)}]."
    return hint


def _is_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _enum(path: RecipePath, error: _Error) -> Iterator[Finding]:
    allowed = [str(value) for value in error.wanted if value is not None]
    found = f"`{shown(error.instance)}`" if isinstance(error.instance, str) else kind_of(error.instance)
    message = f"{_at(path)} is {found}, which is not one of {listed(allowed)}"
    other = _OTHER_WORDS.get(str(error.instance).lower())
    hint = f"Did you mean `{other}`?" if other in allowed else did_you_mean(str(error.instance), allowed)
    yield Finding("E204", message, path, hint if hint.startswith("Did") else "")


def _const(path: RecipePath, error: _Error) -> Iterator[Finding]:
    if path in (("recipe",), ("lock",)):
        message = f"this is a {path[0]} of format {shown(error.instance)}, and this version reads format 1"
        hint = f"Write `{path[0]}: 1`, or use a newer recipe_runner."
        yield Finding("E210", message, path, hint)
        return
    message = f"{_at(path)} is `{shown(error.instance)}`, where `{error.wanted}` is needed"
    yield Finding("E204", message, path)


def _pattern(path: RecipePath, error: _Error) -> Iterator[Finding]:
    if not error.instance:
        yield Finding("E207", f"{_at(path)} is empty", path, _FORMS.get(str(error.wanted), ""))
        return
    message = f"{_at(path)} is `{shown(error.instance)}`, which does not have the right form"
    hint = _FORMS.get(str(error.wanted), f"It must match {error.wanted}")
    yield Finding("E205", message, path, hint)


def _range(path: RecipePath, error: _Error) -> Iterator[Finding]:
    if path[:1] == ("seeds",) and error.instance < 0:
        message = f"the seed {error.instance} is negative"
        hint = "Seeds are integers from 0 to 18446744073709551615."
        yield Finding("E312", message, path, hint)
        return
    allowed = [words.format(error.schema[name]) for name, words in _BOUNDS.items() if name in error.schema]
    message = f"{_at(path)} is {shown(error.instance)}; it must be {' and '.join(allowed)}"
    yield Finding("E206", message, path)


def _empty(path: RecipePath, error: _Error) -> Iterator[Finding]:
    if "pattern" in error.schema and error.instance == "":
        return  # the pattern says it, with the form
    what = {"array": "list", "object": "mapping"}.get(_json_type(error.instance), "text")
    hint = "Delete the key, or write something." if path and path[0] not in ("prompts", "matrix") else ""
    if path[:1] == ("matrix",):
        hint = "An axis without values makes no images: delete it, or give it values."
    elif path[:1] == ("prompts",):
        hint = "A recipe needs at least one prompt."
    yield Finding("E207", f"{_at(path)} is an empty {what}", path, hint)


def _json_type(value: object) -> str:
    return "array" if isinstance(value, list) else "object" if isinstance(value, dict) else "string"


def _long(path: RecipePath, error: _Error) -> Iterator[Finding]:
    unit = "characters" if isinstance(error.instance, str) else "elements"
    message = f"{_at(path)} has {len(error.instance):,} {unit}; at most {error.wanted:,} are allowed"
    yield Finding("E208", message, path)


def _multiple(path: RecipePath, error: _Error) -> Iterator[Finding]:
    step = error.wanted
    below = error.instance // step * step
    message = f"{_at(path)} is {error.instance}, which is not a multiple of {step}"
    yield Finding("E209", message, path, f"Write {below} or {below + step}.")


def _other(path: RecipePath, error: _Error) -> Iterator[Finding]:
    yield Finding("E203", f"{_at(path)}: {error.message}", path)


def _union(error: ValidationError, prefix: RecipePath) -> Iterator[Finding]:
    """The errors of the branch that has the type of what was written; without one, what types there are."""
    branches: dict[int, list[ValidationError]] = {}
    for inner in error.context or []:
        branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    for inners in branches.values():
        if not any(inner.validator == "type" and not inner.relative_path for inner in inners):
            yield from explanations(inners, prefix)
            return
    path: RecipePath = (*prefix, *error.absolute_path)
    yield Finding("E203", f"{_at(path)} is {kind_of(error.instance)}, which is not allowed here", path)


_UNIONS = ("anyOf", "oneOf")
_EXPLAIN: Mapping[str, Callable[[RecipePath, _Error], Iterator[Finding]]] = {
    "additionalProperties": _unknown_keys,
    "required": _missing,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "minimum": _range,
    "maximum": _range,
    "exclusiveMinimum": _range,
    "exclusiveMaximum": _range,
    "minItems": _empty,
    "minLength": _empty,
    "minProperties": _empty,
    "maxItems": _long,
    "maxLength": _long,
    "multipleOf": _multiple,
}
