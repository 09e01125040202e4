"""Check documents against the JSON Schemas in `schemas/`, and report every problem with its place. Needs no pydantic.

A test proves that the schemas are valid, so they are not checked here.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jsonschema.exceptions import ValidationError
from jsonschema.validators import Draft202012Validator, extend

from recipe_runner.recipe.schema.messages import explanations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonschema.protocols import Validator

    from recipe_runner.document.document import Document
    from recipe_runner.problems.problem import Problem

RECIPE = "recipe.v1.schema.json"
MANIFEST = "manifest.v1.schema.json"
LOCK = "lock.v1.schema.json"


def schema_file(name: str) -> Path:
    """The path of a schema: inside an installed package, or beside the package in a checkout."""
    package = Path(__file__).parents[2]
    inside = package / "schemas" / name
    if inside.is_file():
        return inside
    return package.parent / "schemas" / name


@cache
def load_schema(name: str) -> Mapping[str, Any]:
    """A schema of `schemas/`."""
    schema: Mapping[str, Any] = json.loads(schema_file(name).read_text(encoding="utf-8"))
    return schema


def _is_integer(_: object, value: object) -> bool:
    # 28.0 is an integer in JSON Schema, but not in the types of a recipe.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: object, value: object) -> bool:
    return _is_integer(None, value) or (isinstance(value, float) and math.isfinite(value))


def _pattern(_: Validator, pattern: str, value: object, __: object) -> Iterator[ValidationError]:
    # In Python `$` also matches before a final line break, in JSON Schema it does not.
    if isinstance(value, str) and not _compiled(pattern).search(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\$$", r"\\Z", pattern))


@cache
def validator(name: str) -> Validator:
    """The validator of a schema: strict about types, without a check of the schema itself."""
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer).redefine("number", _is_number)
    strict = cast("Any", extend)(Draft202012Validator, {"pattern": _pattern}, type_checker=types)
    made: Validator = strict(load_schema(name))
    return made


def part_validator(schema: Mapping[str, Any], name: str = RECIPE) -> Validator:
    """The validator of `schema`, a part of the schema called `name`, for many values."""
    return validator(name).evolve(schema=schema)


def check_recipe(document: Document) -> tuple[Problem, ...]:
    """All problems of a recipe's shape, in the order of the text."""
    return _check(document, RECIPE)


def check_manifest(document: Document) -> tuple[Problem, ...]:
    """All problems of a manifest's shape, in the order of the text."""
    return _check(document, MANIFEST)


def check_lock(document: Document) -> tuple[Problem, ...]:
    """All problems of a lock's shape, in the order of the text."""
    return _check(document, LOCK)


def _check(document: Document, name: str) -> tuple[Problem, ...]:
    return in_order(finding.placed(document) for finding in explanations(validator(name).iter_errors(document.tree)))


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems without duplicates, by their place in the text; those of command-line options come last."""
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda problem: (problem.path.startswith("--"), problem.line, problem.column)))
