"""Configurations of honest models are never reported, and each fact of a class is compared with a real header."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from support.configurations import change, problems_of
from support.model_tables import ENCODERS, MODELS

from recipe_runner.plan.adapters.base_parts import base_parts
from recipe_runner.plan.resolve_base import resolve_base
from recipe_runner.problems.place import NOWHERE
from recipe_runner.recipe.types.recipe import Base
from recipe_runner.weights.configuration import contradictions, excesses, impossible, unfounded
from recipe_runner.weights.configuration.facts import _TABLES, Fact

FOLDERS = ("sd15_folder", "sdxl_folder", "sd3_folder", "flux_folder")


@pytest.mark.parametrize("folder", FOLDERS)
def test_honest_models_are_not_reported(folder: str, request: pytest.FixtureRequest) -> None:
    assert problems_of(request.getfixturevalue(folder)) == ()


def stated(fact: Fact, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """A key of the configuration that the fact compares, with another value."""
    value = config.get(fact.key)
    if isinstance(value, list):
        yield fact.key, [*value, value[-1]]
    elif isinstance(value, int) and not isinstance(value, bool):
        yield fact.key, value + 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_fact_of_a_class_is_noticed_when_it_is_wrong(
    folder: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = shutil.copytree(request.getfixturevalue(folder), tmp_path / "model", symlinks=True)
    base = resolve_base(Base.model_validate({"model": str(model)}), tmp_path, NOWHERE, allow_pickle=False)
    noticed = 0
    for name, part in base_parts(base).items():
        file = model / name / "config.json"
        before = file.read_text()
        for fact in _TABLES[part.class_name].facts:
            for key, value in stated(fact, json.loads(before)):
                change(file, **{key: value})
                problems = problems_of(model)
                file.write_text(before)
                assert problems, (name, key, value)
                noticed += 1
    assert noticed >= 20, noticed


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_published_sizes_are_not_reported() -> None:
    for name, (cls, arguments, _) in MODELS.items():
        with torch.device("meta"):
            model = getattr(diffusers, cls)(**arguments)
        honest(name, cls, json.loads(model.to_json_string()), model)
    for name, (cls, make, _) in ENCODERS.items():
        with torch.device("meta"):
            model = getattr(transformers, cls)(make())
        honest(name, cls, json.loads(model.config.to_json_string()), model)


def honest(name: str, cls: str, config: dict[str, Any], model: Any) -> None:
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = [*excesses("config.json", config), *impossible("config.json", config)]
    found += [*contradictions(cls, config, shapes), *unfounded(config, len(shapes))]
    assert not found, (name, found)
