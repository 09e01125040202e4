"""IP-Adapters of Flux and Stable Diffusion 3: a recipe's pictures are those of the plain calls, bit for bit."""

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
    write_picture,
)
from support.loras import diffusers_file, factors
from support.parity import recipe_pictures, scripts_pictures
from support.plain import plain_pipeline
from support.tiny import build_flux, build_sd3

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Flux of two double blocks, a Stable Diffusion 3.5 with a second attention in one block, and their adapters."""
    folder = tmp_path_factory.mktemp("transformers")
    build_flux(folder / "model", num_layers=2)
    build_sd3(folder / "sd35", dual_attention_layers=(0,), qk_norm="rms_norm")
    write_ip_adapter(folder / "xlabs.safetensors", flux_shapes(blocks=2, xlabs=True, **TINY_FLUX), 1)
    write_ip_adapter(folder / "translated.safetensors", flux_shapes(blocks=2, xlabs=False, **TINY_FLUX), 2)
    write_ip_adapter(folder / "instantx.safetensors", sd3_shapes(attentions=3, translated=False, **TINY_SD3), 3)
    diffusers_file(folder / "style.safetensors", factors(plain_pipeline(folder / "model"), 4, ("transformer",)))
    build_image_encoder(folder / "clip")
    build_siglip(folder / "siglip")
    write_picture(folder / "bear.png", 1)
    write_picture(folder / "other.png", 2)
    return folder


@pytest.fixture(scope="module")
def plain(files: Path) -> dict[str, NDArray[np.uint8]]:
    """What the plain scripts make."""
    return scripts_pictures(files, ["ip_adapter_flux", "ip_adapter_sd3"])


SIZE = ("sampling.height=32", "sampling.width=16")
FLUX = """\
adapters:
  look: {{kind: ip_adapter, model: xlabs.safetensors, image_encoder: {{model: clip}}, {shown}}}
prompts:
  - {{id: star, prompt: a red star}}
{more}seeds: [1]
"""
CIRCLE = "  - {id: circle, prompt: a circle, negative_prompt: blurry, images: {look: other.png}}\n"
BLOCKS = "matrix: {adapters.look.scale: [0.7, {transformer_blocks: [0.3, 0.9]}]}\n"


def test_flux(files: Path, plain: dict[str, NDArray[np.uint8]]) -> None:
    expected = plain["ip_adapter_flux"]
    recipe = FLUX.format(shown="image: bear.png", more=CIRCLE) + BLOCKS
    found = recipe_pictures(files, recipe, *SIZE, "sampling.true_cfg_scale=4.0")
    assert np.array_equal(found, expected[:4])
    embeds = FLUX.format(shown="image_embeds: bear.npy, scale: 0.7", more="")
    assert np.array_equal(recipe_pictures(files, embeds, *SIZE, "sampling.true_cfg_scale=4.0"), expected[:1])
    assert len(np.unique(expected, axis=0)) == len(expected)
    assert expected.std() > 5


SEVERAL = """\
adapters:
  look:
    {kind: ip_adapter, model: xlabs.safetensors, image_encoder: {model: clip}, scale: 0.6, image: [bear.png, other.png]}
  more:
    kind: ip_adapter
    model: translated.safetensors
    image_encoder: {model: clip}
    image: other.png
    scale: {transformer_blocks: {block_0: 1.0}}
prompts: [{prompt: a red star, negative_prompt: blurry}]
seeds: [1]
"""


def test_several_of_flux_and_several_images(files: Path, plain: dict[str, NDArray[np.uint8]]) -> None:
    expected = plain["ip_adapter_flux"][4:5]
    assert np.array_equal(recipe_pictures(files, SEVERAL, *SIZE, "sampling.true_cfg_scale=3.0"), expected)


HALF = """\
adapters:
  look: {kind: ip_adapter, model: xlabs.safetensors, image_encoder: {model: clip, dtype: float16}, image: bear.png}
  style: {kind: lora, model: style.safetensors}
prompts: [{prompt: a red star, negative_prompt: ""}]
seeds: [1]
"""


def test_flux_as_the_documentation_has_it(files: Path, plain: dict[str, NDArray[np.uint8]]) -> None:
    found = recipe_pictures(files, HALF, *SIZE, "base.dtype=bfloat16", "sampling.true_cfg_scale=4.0")
    assert np.array_equal(found, plain["ip_adapter_flux"][5:])


SD3 = """\
adapters:
  look: {{kind: ip_adapter, model: instantx.safetensors, image_encoder: {{model: siglip}}, {shown}}}
prompts:
  - {{id: star, prompt: a red star}}
{more}seeds: [1]
"""


def test_stable_diffusion_3(files: Path, plain: dict[str, NDArray[np.uint8]]) -> None:
    expected = plain["ip_adapter_sd3"]
    base, guided = "base.model=sd35", "sampling.guidance_scale=5.0"
    recipe = SD3.format(shown="image: bear.png", more="  - {id: circle, prompt: a circle, images: {look: other.png}}\n")
    recipe += "matrix: {adapters.look.scale: [0.6, 1.0]}\n"
    assert np.array_equal(recipe_pictures(files, recipe, base, guided), expected[:4])
    embeds = SD3.format(shown="image_embeds: bear-pair.npy, scale: 0.6", more="")
    assert np.array_equal(recipe_pictures(files, embeds, base, guided), expected[:1])
    for number, shown in ((4, "bear.png"), (5, "[bear.png, other.png]")):
        one = SD3.format(shown=f"image: {shown}, scale: 0.6", more="")
        found = recipe_pictures(files, one, base, "sampling.guidance_scale=1.0")
        assert np.array_equal(found, expected[number : number + 1])
    half = SD3.format(shown="image: bear.png, scale: 0.6", more="")
    assert np.array_equal(recipe_pictures(files, half, base, guided, "base.dtype=bfloat16"), expected[6:])
    assert len(np.unique(expected, axis=0)) == len(expected)
    assert expected.std() > 5
