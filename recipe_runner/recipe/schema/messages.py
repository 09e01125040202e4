"""Explain schema errors: what was found, what is allowed, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from recipe_runner.disk.inside import FILE_PATTERN, FORM, URL_FILE_PATTERN
from recipe_runner.document.paths import RecipePath, format_path
from recipe_runner.problems.suggest import did_you_mean, nearest
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
_EMPTY_HINTS: Mapping[str | int, str] = {
    "matrix": "An axis without values makes no images: delete it, or give it values.",
    "prompts": "A recipe needs at least one prompt.",
}
_NUMBERS = frozenset({"integer", "number"})
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
    """The parts of a ValidationError that we use; its own types make all of them optional."""

    validator: str
    wanted: Any
    instance: Any
    schema: Mapping[str, Any]
    message: str


def explanations(errors: Iterable[ValidationError], prefix: RecipePath = ()) -> Iterator[Finding]:
    """One finding for each mistake; an error can be several mistakes.

    `prefix` is the path of the checked value, for errors of a part of the recipe.
    """
    found = list(errors)
    # For a value of the wrong type or out of range, other errors do not help.
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
    if not path:
        return "the recipe"
    return f"`{format_path(path)}`"


def _name(path: RecipePath, error: _Error) -> Finding:
    name = str(error.instance)
    message = f"`{shown(name)}` is not a valid name"
    if not name:
        message = "the empty text is not a valid name"
    return Finding("E211", message, (*path, name), _FORMS.get(str(error.wanted), _NAMES), key=True)


def _unknown_keys(path: RecipePath, error: _Error) -> Iterator[Finding]:
    known = list(error.schema.get("properties", {}))
    place = f" in {_at(path)}" if path else ""
    for key in error.instance:
        if key not in known:
            hint = _key_hint(key, known, error.instance)
            yield Finding("E201", f"unknown key `{shown(key)}`{place}", (*path, key), hint, key=True)


def _key_hint(key: str, known: list[str], section: Mapping[str, Any]) -> str:
    if key in ("down", "mid", "up") and "unet" in known:
        return f"Blocks are parts of a component: write `unet: {{{key}: …}}`."
    unused = [name for name in known if name not in section]
    if unused and unused != known:
        return did_you_mean(key, unused, "Also allowed")
    return did_you_mean(key, known, "Allowed")


def _missing(path: RecipePath, error: _Error) -> Iterator[Finding]:
    # jsonschema yields one error for each missing key, in the order of the list, and names it only in the message.
    properties = error.schema.get("properties", {})
    for name in error.wanted:
        if name not in error.instance and error.message.startswith(repr(name)):
            example = _example(name, properties.get(name, {}))
            if name == "kind":
                example = f"Write `kind: ` and one of {listed(properties['kind']['enum'])}."
            yield Finding("E202", f"{_at(path)} needs the key `{name}`", path, example, key=True)


def _example(name: str, schema: Mapping[str, Any]) -> str:
    for example in schema.get("examples", ()):
        return f"For example: `{name}: {written(example)}`"
    return ""


def _type(path: RecipePath, error: _Error) -> Iterator[Finding]:
    wanted = [error.wanted] if isinstance(error.wanted, str) else list(error.wanted)
    needed = [_TYPES[name] for name in wanted if name != "null"]
    message = f"{_at(path)} is {kind_of(error.instance)}; it must be {listed(needed, 'or', quote=False)}"
    yield Finding("E203", message, path, _type_hint(path, error, wanted))


def _type_hint(path: RecipePath, error: _Error, wanted: Sequence[str]) -> str:
    value = error.instance
    if path[:1] == ("prompts",) and len(path) == 2 and isinstance(value, str):  # noqa: PLR2004
        return f"Write `prompt: {written(value)}`."
    if value is None:
        return "Write a value, or delete the key."
    if isinstance(value, dict) and "string" in wanted:
        return 'If it is a text, put it in quotes: "…".'
    name = str(path[-1]) if path else ""
    return (
        _axis_hint(path, value)
        or _section_hint(name, value, error.schema)
        or _scalar_hint(value, wanted, error.schema)
        or _example_hint(path, error.schema)
    )


def _example_hint(path: RecipePath, schema: Mapping[str, Any]) -> str:
    if not path or isinstance(path[-1], int):
        return ""
    return _example(path[-1], schema)


def _section_hint(name: str, value: object, schema: Mapping[str, Any]) -> str:
    """How to write a section that is only the value of its main key."""
    if not name or not isinstance(value, str):
        return ""
    for main in ("model", "class"):
        if main in schema.get("properties", {}):
            return f"Write `{name}: {{{main}: {written(value)}}}`."
    return ""


def _axis_hint(path: RecipePath, value: object) -> str:
    if isinstance(value, list) and path[-1:] == ("scale",):
        return f"Several scales are an axis: write `{format_path(path)}: {written(value)}` under `matrix`."
    if isinstance(value, dict) and path[:1] == ("matrix",):
        return "Write the whole path as one key, and a list of values: `adapters.style.scale: [0.0, 0.5, 1.0]`."
    return ""


def _scalar_hint(value: object, wanted: Sequence[str], schema: Mapping[str, Any]) -> str:
    if isinstance(value, str):
        return _text_hint(value, wanted, schema.get("items", {}))
    if not isinstance(value, (int, float)):
        return ""
    if isinstance(value, float) and "integer" in wanted and value.is_integer():
        return f"Write {int(value)}."
    if "string" in wanted:
        return f'Put it in quotes: "{written(value)}".'
    return _list_hint(value, wanted, schema.get("items", {}))


def _text_hint(text: str, wanted: Sequence[str], items: Mapping[str, Any]) -> str:
    if "boolean" in wanted and text.lower() in _YAML_1_1:
        return f"Recipes are YAML 1.2: write `{_YAML_1_1[text.lower()]}`."
    if not _NUMBERS.isdisjoint(wanted) and _is_numeric(text):
        return f"Write it without quotes: {text.strip()}."
    if items.get("type") in _NUMBERS:
        return ""
    return _list_hint(text, wanted, items)


def _list_hint(value: str | float, wanted: Sequence[str], items: Mapping[str, Any]) -> str:
    if "array" not in wanted or "$ref" in items:
        return ""
    return f"Write a list: [{written(value)}]."


def _is_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _enum(path: RecipePath, error: _Error) -> Iterator[Finding]:
    allowed = [str(value) for value in error.wanted if value is not None]
    found = kind_of(error.instance)
    if isinstance(error.instance, str):
        found = f"`{shown(error.instance)}`"
    message = f"{_at(path)} is {found}, which is not one of {listed(allowed)}"
    meant = _OTHER_WORDS.get(str(error.instance).lower())
    if meant not in allowed:
        meant = nearest(str(error.instance), allowed)
    hint = "" if meant is None else f"Did you mean `{meant}`?"
    yield Finding("E204", message, path, hint)


def _const(path: RecipePath, error: _Error) -> Iterator[Finding]:
    if path in (("recipe",), ("lock",)):
        message = f"this {path[0]} has format {shown(error.instance)}, but this version reads only format 1"
        hint = f"Write `{path[0]}: 1`, or use a newer recipe_runner."
        yield Finding("E210", message, path, hint)
        return
    message = f"{_at(path)} is `{shown(error.instance)}`; it must be `{error.wanted}`"
    yield Finding("E204", message, path)


def _pattern(path: RecipePath, error: _Error) -> Iterator[Finding]:
    if not error.instance:
        yield Finding("E207", f"{_at(path)} is empty", path, _FORMS.get(str(error.wanted), ""))
        return
    message = f"{_at(path)} is `{shown(error.instance)}`, which has the wrong format"
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
        return  # the error of the pattern reports it, with the format
    hint = _EMPTY_HINTS.get(path[0], "Delete the key, or write a value.") if path else ""
    yield Finding("E207", f"{_at(path)} is {kind_of(error.instance)}", path, hint)


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
    """The errors of the branch with the type of the value; without such a branch, the error that none matches."""
    branches: dict[int, list[ValidationError]] = {}
    for inner in error.context or []:
        branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    for inners in branches.values():
        of_wrong_type = any(inner.validator == "type" and not inner.relative_path for inner in inners)
        if not of_wrong_type:
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
