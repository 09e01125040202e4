"""Write plain data as YAML that our own reader, readers of YAML 1.1 and people all read in the same way."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from recipe_runner.canonical import Json
from recipe_runner.document.scalars import read_scalar

# CI systems take this for a command in their output; double quotes allow to escape it.
_COMMAND = re.compile(r"(?:^|\s)::|##[A-Za-z]*\[")


class _Dumper(yaml.SafeDumper):
    """Quotes texts that one of the two YAML versions would read as another type; never writes aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal parts out each time: `&id001` is hard to read in a recipe."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=_style(value))


def _style(text: str) -> str | None:
    if not text.replace("\n", "").isprintable() or not text.strip("\n") or _COMMAND.search(text):
        return '"'
    if "\n" in text:
        return "|"
    try:
        plain = read_scalar(text) == text
    except ValueError:
        plain = False
    return None if plain else "'"


def _number(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    # Python's repr round-trips, but readers of YAML 1.1 take 1e-07, without a dot, for text.
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    if mark and "." not in mantissa:
        text = f"{mantissa}.0e{exponent}"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(float, _number)


def to_yaml(tree: Json, *, inline: bool = True) -> str:
    """`tree` as YAML, keys in their order; with `inline`, lists and mappings of scalars on one line each."""
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
