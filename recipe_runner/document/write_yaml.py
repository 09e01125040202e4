"""Write plain data as YAML that our own reader, a reader of YAML 1.1 and a person all read alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from recipe_runner.canonical import Json
from recipe_runner.document.scalars import read_scalar

# What a CI system takes for a command where it stands in its output: between double quotes it can be escaped.
_COMMAND = re.compile(r"(?:^|\s)::|##[A-Za-z]*\[")


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would read as something else; never writes aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal parts out each time: a recipe with `&id001` in it is not for people."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    try:
        plain = read_scalar(value) == value
    except ValueError:
        plain = False
    style = None if plain else "'"
    if "\n" in value:
        style = "|"
    if not value.replace("\n", "").isprintable() or not value.strip("\n") or _COMMAND.search(value):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _number(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    # Python's repr round-trips; PyYAML's own form of 1e-07 would be text to a reader of YAML 1.1 without the dot.
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    if mark and "." not in mantissa:
        text = f"{mantissa}.0e{exponent}"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(float, _number)


def to_yaml(tree: Json, *, inline: bool = True) -> str:
    """`tree` as YAML, keys in their order; with `inline`, lists and mappings of scalars stand on one line."""
    style = None if inline else False
    return yaml.dump(
        _plain(tree), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=style
    )


def _plain(value: Json) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
