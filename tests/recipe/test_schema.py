"""The schema and the types: equal in what they accept, current, valid, and complete for editors."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError
from support.cases import VALID
from support.trees import TREES, mutated

from recipe_runner.cli.schema import schema_files
from recipe_runner.document.document import parse_document
from recipe_runner.recipe.schema.check import (
    MANIFEST,
    RECIPE,
    check_manifest,
    check_recipe,
    load_schema,
    schema_file,
    validator,
)
from recipe_runner.recipe.types.recipe import Recipe

FILES = schema_files()


@pytest.mark.parametrize("name", [RECIPE, MANIFEST])
def test_a_schema_file_is_current_and_valid(name: str) -> None:
    assert schema_file(name).read_text(encoding="utf-8") == FILES[name], "run `recipe-runner schema --write schemas`"
    Draft202012Validator.check_schema(json.loads(FILES[name]))


def test_the_schema_lies_beside_the_package_and_is_found_from_anywhere() -> None:
    assert schema_file(RECIPE) == Path(__file__).parents[2] / "schemas" / RECIPE


def parts(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        for name, part in schema.get("properties", {}).items():
            if "const" not in part or set(part) != {"const"}:  # the condition of an if
                yield f"{path}.{name}", part
        for key, part in schema.items():
            if key != "if":
                yield from parts(part, f"{path}.{key}" if key != "properties" else path)
    elif isinstance(schema, list):
        for part in schema:
            yield from parts(part, path)


@pytest.mark.parametrize("name", [RECIPE, MANIFEST])
def test_every_property_has_what_an_editor_shows(name: str) -> None:
    found = list(parts(json.loads(FILES[name])))
    assert len(found) > 30
    for path, part in found:
        for key in ("title", "description", "examples"):
            assert part.get(key), f"{path} has no {key}"
        # Those of the manifest are cut short.
        for example in part["examples"] if name == RECIPE else ():
            errors = list(validator(name).evolve(schema=part).iter_errors(example))
            assert not errors, f"the example of {path} breaks its own schema: {errors[0].message}"


def test_no_union_is_left_for_readers_to_guess() -> None:
    assert "anyOf" not in FILES[RECIPE]
    assert "oneOf" not in FILES[RECIPE]


def fields(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_the_schema_has_the_fields_of_the_types() -> None:
    schema = load_schema(RECIPE)
    assert set(schema["properties"]) == fields(Recipe)
    kinds = {"Lora", "TextualInversion", "IpAdapter", "Merge"}
    assert kinds <= set(schema["$defs"])
    from recipe_runner.recipe.types import recipe

    for name, definition in schema["$defs"].items():
        assert set(definition["properties"]) == fields(getattr(recipe, name)), name


def accepted_by_types(tree: Any) -> bool:
    try:
        Recipe.model_validate(tree)
    except ValidationError:
        return False
    return True


def accepted_by_schema(tree: Any) -> bool:
    return validator(RECIPE).is_valid(tree)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_valid_recipes_are_accepted_by_both(path: Path) -> None:
    tree = parse_document(path.read_bytes(), str(path)).tree
    assert accepted_by_schema(tree)
    assert accepted_by_types(tree)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.sampled_from(TREES), st.integers(0, 2**32), st.integers(1, 3))
def test_schema_and_types_never_disagree(tree: Any, seed: int, times: int) -> None:
    source = random.Random(seed)
    for _ in range(times):
        if isinstance(tree, dict) and tree:
            tree = mutated(tree, source)
    assert accepted_by_schema(tree) == accepted_by_types(tree), tree


def test_near_valid_recipes_are_of_both_sorts() -> None:
    # The property above would say little if nearly all mutations were refused, or accepted.
    source = random.Random(1)
    accepted = sum(accepted_by_schema(mutated(source.choice(TREES), source)) for _ in range(400))
    assert 60 < accepted < 340


@pytest.mark.parametrize(
    ("value", "allowed"),
    [(1, True), (True, False), (1.0, False), ("1", False), (None, False), (2, False)],
)
def test_the_format_version_is_the_integer_one(value: Any, *, allowed: bool) -> None:
    tree = {"recipe": value, "name": "x", "base": {"model": "m"}, "prompts": [{"prompt": "a"}]}
    assert accepted_by_schema(tree) is allowed
    assert accepted_by_types(tree) is allowed


def test_a_line_break_at_the_end_is_not_overlooked() -> None:
    tree = {"recipe": 1, "name": "x\n", "base": {"model": "m"}, "prompts": [{"prompt": "a"}]}
    assert not accepted_by_schema(tree)


def test_typed_recipes_write_themselves_out_and_come_back() -> None:
    for tree in TREES:
        recipe = Recipe.model_validate(tree)
        again = Recipe.model_validate(json.loads(recipe.model_dump_json(by_alias=True)))
        assert again == recipe


def test_a_manifest_with_mistakes_is_told_line_by_line() -> None:
    document = parse_document('{"format": 1,\n "imags": []}', "manifest.json")
    problems = check_manifest(document)
    assert all(problem.line and problem.column for problem in problems)
    assert any(problem.code == "E201" and problem.line == 2 for problem in problems)


def test_problems_come_in_the_order_of_the_text() -> None:
    text = "zzz: 1\nrecipe: 1\nname: X\nbase: {}\nprompts: []\n"
    problems = check_recipe(parse_document(text, "a.yaml"))
    assert [(problem.line, problem.code) for problem in problems] == [
        (1, "E201"), (3, "E205"), (4, "E202"), (5, "E207"),
    ]  # fmt: skip
