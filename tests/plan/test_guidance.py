"""Negative prompts: read where guidance is on, and otherwise left out of node keys and reported at their lines."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from support import resolved as make
from support.command import ROOT, call
from support.header_bases import flux_base, header_base
from support.tiny import _one_thread, sd15_folder, unet

import recipe_runner
from recipe_runner.plan.checks.negative_prompts import ignored_negative_warnings
from recipe_runner.plan.compile import compile_plan
from recipe_runner.plan.resolve import resolve
from recipe_runner.recipe.load import load_document
from recipe_runner.recipe.matrix import variants

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.resolved_recipe import ResolvedPrompt, ResolvedRecipe

__all__ = ["_one_thread", "sd15_folder"]

SD, SDXL, SD3 = "StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline"
FLUX, OTHER = "FluxPipeline", "PixArtSigmaPipeline"
DEMO = ROOT / "recipes/demo"


def prompt(name: str = "bear", **texts: str) -> ResolvedPrompt:
    return make.prompt_of(name, {"prompt": "a bear", **texts})


def encoded(recipe: ResolvedRecipe) -> list[dict[str, Any]]:
    return [dict(node.constants) for node in compile_plan(recipe).graph if node.operation == "encode_prompt"]


CASES: list[tuple[str, dict[str, Any], dict[str, str], bool]] = [
    (SD, {"guidance_scale": 5.0}, {"negative_prompt": "blurry"}, True),
    (SD, {"guidance_scale": 5.0}, {}, True),
    (SD, {"guidance_scale": 1.0}, {"negative_prompt": "blurry"}, False),
    (SD, {"guidance_scale": 1}, {}, False),
    (SD, {"guidance_scale": 0.0}, {"negative_prompt": "blurry"}, False),
    (SD, {}, {"negative_prompt": "blurry"}, True),
    # An argument that this call does not have guides nothing.
    (SD, {"guidance_scale": 1.0, "true_cfg_scale": 5.0}, {}, False),
    (SDXL, {"guidance_scale": 1.0}, {"negative_prompt": "blurry", "negative_prompt_2": "dark"}, False),
    (SDXL, {}, {"negative_prompt_2": "dark"}, True),
    (SD3, {"guidance_scale": 0.5}, {"negative_prompt_3": "dark"}, False),
    (SD3, {}, {"negative_prompt_3": "dark"}, True),
    (FLUX, {}, {}, False),
    (FLUX, {"guidance_scale": 3.5}, {"negative_prompt": "blurry"}, False),
    (FLUX, {"true_cfg_scale": 2.0}, {}, False),
    (FLUX, {"true_cfg_scale": 2.0}, {"negative_prompt_2": "dark"}, False),
    (FLUX, {"true_cfg_scale": 2.0}, {"negative_prompt": "blurry", "negative_prompt_2": "dark"}, True),
    (FLUX, {"true_cfg_scale": 1.0}, {"negative_prompt": "blurry"}, False),
]


@pytest.mark.parametrize(("pipeline", "sampling", "negatives", "guided"), CASES)
def test_a_negative_prompt_is_encoded_only_where_guidance_uses_it(
    pipeline: str, sampling: dict[str, Any], negatives: dict[str, str], *, guided: bool
) -> None:
    variant = make.variant(base=make.base(pipeline=pipeline), prompts=(prompt(**negatives),), sampling=sampling)
    texts = {"prompt": "a bear", **(negatives if guided else {})}
    assert encoded(make.recipe(variant)) == [{"texts": texts, "guided": guided}]
    warned = [warning.message.split()[2] for warning in ignored_negative_warnings(make.recipe(variant))]
    assert warned == ([] if guided else list(negatives))


def test_a_distilled_denoiser_reads_no_negative_prompt() -> None:
    variant = make.variant(base=make.base(is_distilled=True), prompts=(prompt(negative_prompt="blurry"),))
    assert encoded(make.recipe(variant)) == [{"texts": {"prompt": "a bear"}, "guided": False}]
    (warning,) = ignored_negative_warnings(make.recipe(variant))
    assert "the denoiser is distilled" in warning.message


@pytest.mark.parametrize("pipeline", [OTHER, "auto"])
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_of_a_pipeline_whose_steps_are_unknown_every_text_is_kept(pipeline: str, scale: float) -> None:
    prompts = (prompt(negative_prompt="blurry"),)
    variant = make.variant(base=make.base(pipeline=pipeline), prompts=prompts, sampling={"guidance_scale": scale})
    assert encoded(make.recipe(variant)) == [{"texts": prompts[0].texts, "guided": scale > 1}]
    assert not list(ignored_negative_warnings(make.recipe(variant)))


def test_a_token_in_an_ignored_negative_prompt_does_not_count() -> None:
    token = make.textual_inversion("<bad>")
    plain, steered = prompt("a"), prompt("b", negative_prompt="<bad>")
    for scale, models in ((1.0, 1), (5.0, 2)):
        variant = make.variant(adapters=(token,), prompts=(plain, steered), sampling={"guidance_scale": scale})
        nodes = [node for node in compile_plan(make.recipe(variant)).graph if node.operation == "denoise"]
        assert len({node.inputs["model"] for node in nodes}) == models


def test_a_batch_is_guided_as_a_whole_or_not_at_all() -> None:
    plain, negative = prompt("a"), prompt("b", negative_prompt="blurry")
    sampling = {"true_cfg_scale": 2.0, "guidance_scale": 5.0}
    for pipeline, values, batches in ((FLUX, sampling, 2), (FLUX, {}, 1), (SD, sampling, 1)):
        variant = make.variant(
            base=make.base(pipeline=pipeline), prompts=(plain, negative), seeds=(1,), sampling=values
        )
        plan = compile_plan(make.recipe(variant, reproducibility="fast", batch_size=2))
        assert sum(node.operation == "denoise" for node in plan.graph) == batches


RECIPE = """\
recipe: 1
name: steered
base: {model: BASE}
runtime: {device: cpu, threads: 1}
sampling: {num_inference_steps: 1, guidance_scale: 1.0}
seeds: [1]
prompts:
  - id: one
    prompt: a red bear
    negative_prompt: blurry
  - id: two
    prompt: a red bear
    negative_prompt: dark
"""


def written(folder: Path, base: object, more: str = "", text: str = RECIPE) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text.replace("BASE", str(base)) + more)
    return path


def resolved(path: Path) -> ResolvedRecipe:
    document = load_document(path).document
    return resolve(document, variants(document))


def test_images_that_differ_in_an_ignored_negative_prompt_are_made_once(tmp_path: Path) -> None:
    matrix = "matrix: {sampling.guidance_scale: [1.0, 4.0, 6.0]}\n"
    plan = recipe_runner.compile_recipe(written(tmp_path, DEMO / "model", matrix))
    keys = {image.path: image.key for image in plan.images}
    assert keys["001-one-1.png"] == keys["001-two-1.png"]
    assert len(set(keys.values())) == 5
    # What the recipe says stays what is recorded.
    assert [prompt.texts["negative_prompt"] for prompt in plan.recipe.variants[0].prompts] == ["blurry", "dark"]


def test_an_axis_over_an_ignored_negative_prompt_draws_one_image(tmp_path: Path) -> None:
    matrix = "matrix: {prompts.one.negative_prompt: [blurry, dark, '']}\n"
    path = written(tmp_path, DEMO / "model", matrix)
    images = [image.key for image in recipe_runner.compile_recipe(path).images if image.prompt == "one"]
    assert (len(images), len(set(images))) == (3, 1)
    found = [(warning.code, warning.line) for warning in ignored_negative_warnings(resolved(path))]
    assert found == [("W755", 14), ("W755", 13)]


def test_a_warning_says_in_how_many_variants_a_negative_prompt_is_ignored(tmp_path: Path) -> None:
    path = written(tmp_path, DEMO / "model", "matrix: {sampling.guidance_scale: [0.5, 4.0, 1.0]}\n")
    first, second = ignored_negative_warnings(resolved(path))
    assert first.message == (
        "prompt one: negative_prompt has no effect in 2 of 3 variants: `guidance_scale` is 0.5, "
        "and guidance is on only above 1"
    )
    assert first.hint == "set `sampling.guidance_scale` above 1, or delete the negative prompt"
    assert (first.line, second.line) == (10, 13)


@pytest.mark.parametrize("command", [("plan",), ("validate", "--weights"), ("run",)])
def test_every_command_reports_it_at_its_line(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, DEMO / "model")
    runs = [] if command[0] == "validate" else ["--runs", str(tmp_path / "runs")]
    answer = call(capsys, *command, str(path), *runs)
    said = answer.out + answer.err
    assert answer.status == 0
    assert said.count("W755") == 2
    assert f"{path}:10:" in said
    assert f"{path}:13:" in said
    if command[0] == "run":
        (folder,) = (path.parent for path in (tmp_path / "runs").glob("*/*/manifest.json"))
        first, second = (folder / "images" / name for name in ("one-1.png", "two-1.png"))
        assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(second)))
        assert "negative_prompt: dark" in (folder / "recipe.yaml").read_text()


def test_flux_needs_true_cfg_and_a_negative_prompt(tmp_path: Path) -> None:
    flux_base(tmp_path / "flux")
    text = RECIPE.replace("guidance_scale: 1.0", "true_cfg_scale: 1.0").replace(
        "    negative_prompt: dark", "    negative_prompt_2: dark"
    )
    first, second = ignored_negative_warnings(resolved(written(tmp_path, "flux", text=text)))
    assert "`true_cfg_scale` is 1.0" in first.message
    assert "FluxPipeline uses it only together with `negative_prompt`" in second.message
    guiding = text.replace("true_cfg_scale: 1.0", "true_cfg_scale: 2.0")
    (only,) = ignored_negative_warnings(resolved(written(tmp_path, "flux", text=guiding)))
    assert only.line == second.line


def test_whether_a_denoiser_is_distilled_is_read_from_its_configuration(tmp_path: Path) -> None:
    folder = header_base(tmp_path / "sd1", "sd1")
    path = written(tmp_path, "sd1")
    assert not resolved(path).variants[0].base.is_distilled
    # A replaced denoiser counts with its own configuration.
    distilled_unet(tmp_path / "other")
    shutil.rmtree(folder / "unet")
    shutil.copytree(tmp_path / "other", folder / "unet")
    assert resolved(path).variants[0].base.is_distilled


def distilled_unet(folder: Path, **changes: Any) -> Path:
    unet(time_cond_proj_dim=8, **changes).save_pretrained(folder)
    return folder


def test_a_distilled_unet_draws_what_the_plain_pipeline_draws(tmp_path: Path, sd15_folder: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    distilled_unet(tmp_path / "unet")
    text = RECIPE.replace("{model: BASE}", f"{{model: {sd15_folder}, components: {{unet: {{model: ./unet}}}}}}")
    path = written(tmp_path, "", text=text.replace("guidance_scale: 1.0", "guidance_scale: 7.5"))
    plan = recipe_runner.compile_recipe(path)
    assert plan.recipe.variants[0].base.is_distilled
    assert len({image.key for image in plan.images}) == 1
    run = recipe_runner.run_recipe(path, runs=tmp_path / "runs")
    folder = shutil.copytree(sd15_folder, tmp_path / "whole", ignore=shutil.ignore_patterns("unet"))
    shutil.copytree(tmp_path / "unet", folder / "unet")
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a red bear",
        negative_prompt="blurry",
        num_inference_steps=1,
        guidance_scale=7.5,
        generator=torch.Generator().manual_seed(1),
    ).images[0]
    for name in ("one-1.png", "two-1.png"):
        assert np.array_equal(np.asarray(Image.open(run.folder / "images" / name)), np.asarray(expected))
    warnings = json.loads((run.folder / "telemetry.json").read_bytes())["invocations"][0]["warnings"]
    assert ["W755" in warning for warning in warnings] == [True, True]
