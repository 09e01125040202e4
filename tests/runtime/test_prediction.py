"""What a plan says of an adapter from headers is what lands when it runs, for every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import lycoris as kinds
from support.handles import base_model, handle
from support.loras import diffusers_file, factors, kohya_file
from support.plain import plain_pipeline

import recipe_runner
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.live import LivePipeline

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.compile import Plan

HEAD = """\
recipe: 1
name: prediction
base: {model: model}
prompts: [{prompt: a bear}]
runtime: {allow_pickle: true}
"""


@pytest.fixture(scope="module")
def folder(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base, and adapter files of many kinds beside it."""
    folder = tmp_path_factory.mktemp("prediction")
    (folder / "model").symlink_to(sd15_folder)
    pipeline = plain_pipeline(sd15_folder)
    made = factors(pipeline, 1)
    diffusers_file(folder / "diffusers.safetensors", made)
    kohya_file(folder / "kohya.safetensors", made, dict.fromkeys(made, 2.0))
    diffusers_file(folder / "rank-2.safetensors", factors(pipeline, 1, rank=2))
    modules = [name for name, module in pipeline.unet.named_modules() if hasattr(module, "weight")]
    mixed = {"to_q": kinds.loha, "to_k": kinds.lokr("factors", "factors"), "to_v": kinds.dora(kinds.lora, 1),
             "conv1": kinds.tucker, "proj_in": kinds.full, "norm1": kinds.norm, "conv2": kinds.with_biases}  # fmt: skip
    chosen = {name: make for end, make in mixed.items() for name in modules if name.endswith(end)}
    tensors, _ = kinds.file_of(chosen, pipeline.unet, 1)
    save_file(tensors, folder / "mixed.safetensors")
    torch.save(load_file(folder / "kohya.safetensors"), folder / "pickled.bin")
    return folder


def plan_of(folder: Path, adapters: str) -> Plan:
    (folder / "recipe.yaml").write_text(HEAD + adapters)
    return recipe_runner.compile_recipe(folder / "recipe.yaml")


ADAPTERS = {
    "diffusers": ("{kind: lora, model: diffusers.safetensors}", ["diffusers"]),
    "one component": ("{kind: lora, model: kohya.safetensors, target: text_encoder}", ["kohya:text_encoder"]),
    "lycoris": ("{kind: lora, model: mixed.safetensors}", ["mixed"]),
    "pickled": ("{kind: lora, model: pickled.bin}", ["kohya"]),
    "merge": ("{kind: merge, adapters: [a, b], weights: [1, 2]}", ["kohya", "rank-2:unet"]),
}
"""An adapter, the files (and their only component) whose tensors land."""
MEMBERS = """\
  a: {kind: lora, model: kohya.safetensors}
  b: {kind: lora, model: rank-2.safetensors, target: unet}
"""


def count(folder: Path, names: list[str]) -> dict[str, int]:
    """How many keys of these files are for each component, by how the keys begin."""
    found: dict[str, int] = {}
    for name in names:
        stem, _, only = name.partition(":")
        for key in load_file(folder / f"{stem}.safetensors"):
            part = "unet" if key.startswith(("unet.", "lora_unet_")) else "text_encoder"
            if only in ("", part):
                found[part] = found.get(part, 0) + 1
    return found


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_plan_foretells_what_lands(name: str, folder: Path) -> None:
    entry, files = ADAPTERS[name]
    plan = plan_of(folder, f"adapters:\n  x: {entry}\n{MEMBERS if name == 'merge' else ''}")
    expected = count(folder, files)
    (resolved,) = plan.recipe.variants[0].adapters
    assert resolved.tensors == expected
    live = LivePipeline("cpu", "strict", 1)
    wanted = handle(base_model(folder / "model", allow_pickle=True), resolved)
    live.require(wanted)
    assert live.tensor_counts(wanted) == {"x": {part: (number, number) for part, number in expected.items()}}


def test_ranks_that_do_not_merge_are_told_while_planning_at_their_line(folder: Path) -> None:
    adapters = (
        "adapters:\n  a: {kind: lora, model: diffusers.safetensors}\n  b: {kind: lora, model: rank-2.safetensors}\n"
        "  x: {kind: merge, adapters: [a, b], weights: [1, 2], combination_type: linear}\n"
    )
    with pytest.raises(RecipeRunnerError) as caught:
        plan_of(folder, adapters)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line) == ("E634", 9)


def test_what_is_no_pair_of_factors_is_told_while_planning(folder: Path) -> None:
    adapters = (
        "adapters:\n  a: {kind: lora, model: mixed.safetensors}\n"
        "  x: {kind: merge, adapters: [a], weights: [1], combination_type: linear}\n"
    )
    with pytest.raises(RecipeRunnerError) as caught:
        plan_of(folder, adapters)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line) == ("E630", 8)
