"""Planning recipes with IP-Adapters of Flux and Stable Diffusion 3: what does not fit is told at its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.ip_adapters import (
    TINY_FLUX,
    TINY_SD3,
    build_image_encoder,
    build_siglip,
    flux_shapes,
    sd3_shapes,
    write_ip_adapter,
    write_mask,
    write_picture,
)

import recipe_runner
from recipe_runner.problems.problem import RecipeRunnerError

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.compile import Plan

TAIL = """\
prompts:
  - {id: star, prompt: a red star, negative_prompt: blurry}
sampling: {num_inference_steps: 2}
runtime: {device: cpu, threads: 1}
"""


@pytest.fixture(scope="module")
def folder(flux_folder: Path, sd3_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plans")
    (folder / "flux-model").symlink_to(flux_folder)
    (folder / "sd3-model").symlink_to(sd3_folder)
    write_ip_adapter(folder / "flux.safetensors", flux_shapes(blocks=1, xlabs=True, **TINY_FLUX))
    write_ip_adapter(folder / "deep.safetensors", flux_shapes(blocks=2, xlabs=True, **TINY_FLUX))
    write_ip_adapter(folder / "sd3.safetensors", sd3_shapes(attentions=2, translated=False, **TINY_SD3))
    build_image_encoder(folder / "clip")
    build_siglip(folder / "siglip")
    write_picture(folder / "bear.png", 1)
    write_mask(folder / "left.png", left=True)
    for name, shape in {"one": (24,), "pair": (2, 1, 24), "patches": (4, 16), "three": (3, 4, 16)}.items():
        np.save(folder / f"{name}.npy", np.zeros(shape, np.float32))
    return folder


def plan_of(folder: Path, base: str, adapters: str, *overrides: str) -> Plan:
    """The plan of a recipe with these adapters, of which the first is on line 5."""
    path = folder / "recipe.yaml"
    path.write_text(f"recipe: 1\nname: case\nbase: {{model: {base}-model}}\nadapters:\n{adapters}{TAIL}")
    return recipe_runner.compile_recipe(path, overrides)


def flux(rest: str, model: str = "flux", name: str = "look") -> str:
    return f"  {name}: {{kind: ip_adapter, model: {model}.safetensors, image_encoder: {{model: clip}}, {rest}}}\n"


def sd3(rest: str, name: str = "look", encoder: str = "siglip") -> str:
    return f"  {name}: {{kind: ip_adapter, model: sd3.safetensors, image_encoder: {{model: {encoder}}}, {rest}}}\n"


GUIDED = "sampling.true_cfg_scale=2.0"
CASES: dict[str, tuple[str, str, str, str, int]] = {
    "masks": ("flux", flux("image: bear.png, mask: left.png"), "E656", "diffusers ignores it", 5),
    "masks of sd3": ("sd3", sd3("image: bear.png, mask: left.png"), "E656", "for Stable Diffusion 3", 5),
    "two of sd3": ("sd3", sd3("image: bear.png") + sd3("image: bear.png", "more"), "E656", "adapter more", 6),
    "for another family": ("sd3", flux("image: bear.png"), "E642", "is for Flux, and the base is a StableDiff", 5),
    "more blocks": ("flux", flux("image: bear.png", "deep"), "E642", "for 2 attentions; the transformer has 1", 5),
    "a list too long": (
        "flux",
        flux("image: bear.png, scale: {transformer_blocks: [0.5, 0.5]}"),
        "E612",
        "2 numbers",
        5,
    ),
    "blocks without": (
        "flux",
        flux("image: bear.png, scale: {transformer_blocks: {block_1: 1}}"),
        "E611",
        "no such block",
        5,
    ),
    "another encoder": ("sd3", sd3("image: bear.png", encoder="clip"), "E644", "expected a SiglipVisionModel", 5),
    "no negative": ("flux", flux("image_embeds: one.npy"), "E646", "guidance needs the negative", 5),
    "three of something": ("sd3", sd3("image_embeds: three.npy"), "E646", "several images are [1, n, patches", 5),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_told_at_its_line(case: str, folder: Path) -> None:
    base, adapters, code, words, line = CASES[case]
    with pytest.raises(RecipeRunnerError) as caught:
        plan_of(folder, base, adapters, *([GUIDED] if base == "flux" else []))
    problem = caught.value.problems[0]
    assert (problem.code, problem.line) == (code, line), problem
    assert words in f"{problem.message} {problem.hint}"


@pytest.mark.parametrize(
    ("base", "adapters", "overrides"),
    [
        # Flux guides by another argument than the others, and only away from a negative prompt.
        ("flux", flux("image_embeds: one.npy"), ["sampling.guidance_scale=3.5"]),
        ("flux", flux("image_embeds: one.npy"), [GUIDED, "prompts[0].negative_prompt=null"]),
        ("flux", flux("image_embeds: pair.npy"), [GUIDED]),
        ("flux", flux("image: bear.png") + flux("image: bear.png", name="more"), [GUIDED]),
        ("sd3", sd3("image_embeds: patches.npy"), ["sampling.guidance_scale=5.0"]),
        ("sd3", sd3("image: bear.png") + sd3("image: bear.png, scale: 0", "more"), []),
    ],
)
def test_what_fits_is_planned(base: str, adapters: str, overrides: list[str], folder: Path) -> None:
    plan = plan_of(folder, base, adapters, *overrides)
    counts = next(iter(plan.adapters.values())).tensors
    assert counts == ({"transformer": 4, "image_proj": 4} if base == "flux" else {"transformer": 14, "image_proj": 63})


def test_a_scale_names_blocks_of_the_pipeline(folder: Path) -> None:
    named = "base.pipeline=FluxPipeline"
    for scale, words in (
        ("{up: 1.0}", "a transformer has no block `up`"),
        ("{transformer_block: 1.0}", "Did you mean"),
    ):
        with pytest.raises(RecipeRunnerError) as caught:
            plan_of(folder, "flux", flux(f"image: bear.png, scale: {scale}"), named)
        assert caught.value.problems[0].code == "E315"
        assert words in f"{caught.value.problems[0].message} {caught.value.problems[0].hint}"
