"""A single-file checkpoint's module table equals that of the model it is converted to."""

from __future__ import annotations

import pytest
from support.module_tables import table

from recipe_runner.weights.checkpoint.ldm_modules import checkpoint_modules, unet_modules
from recipe_runner.weights.lora.sgm_names import sgm_names
from recipe_runner.weights.modules import Shape


def original_unet(family: str) -> dict[str, Shape]:
    """The UNet's tensors under their original names, written with the map that is checked against diffusers' own."""
    modules = table(family)["unet"]
    return {f"{name}.weight": modules[module] for name, module in sgm_names(modules)}


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_unets_modules_are_those_of_diffusers(family: str) -> None:
    assert unet_modules(original_unet(family)) == dict(table(family)["unet"])


def open_clip(layers: int, width: int) -> dict[str, Shape]:
    """An OpenCLIP text model's tensors."""
    shapes: dict[str, Shape] = {
        "token_embedding.weight": (49408, width),
        "positional_embedding": (77, width),
        "ln_final.weight": (width,),
        "text_projection": (width, width),
    }
    for layer in range(layers):
        start = f"transformer.resblocks.{layer}"
        shapes |= {f"{start}.ln_1.weight": (width,), f"{start}.ln_2.weight": (width,)}
        shapes |= {f"{start}.attn.in_proj_weight": (3 * width, width), f"{start}.attn.in_proj_bias": (3 * width,)}
        shapes |= {f"{start}.attn.out_proj.weight": (width, width)}
        shapes |= {f"{start}.mlp.c_fc.weight": (4 * width, width), f"{start}.mlp.c_proj.weight": (width, 4 * width)}
    return shapes


def under(prefix: str, shapes: dict[str, Shape]) -> dict[str, Shape]:
    return {prefix + name: shape for name, shape in shapes.items()}


def test_an_sdxl_checkpoint_has_the_modules_of_the_pipeline() -> None:
    expected = table("sdxl")
    clip = {f"text_model.{name}.weight": shape for name, shape in expected["text_encoder"].items()}
    shapes = under("model.diffusion_model.", original_unet("sdxl"))
    shapes |= under("conditioner.embedders.0.transformer.", clip)
    shapes |= under("conditioner.embedders.1.model.", open_clip(32, 1280))
    assert checkpoint_modules("sdxl", shapes) == expected


def test_an_sd2_checkpoint_has_one_text_layer_more_than_the_pipeline() -> None:
    expected = table("sd2")
    shapes = under("model.diffusion_model.", original_unet("sd2"))
    shapes |= under("cond_stage_model.model.", open_clip(24, 1024))
    assert checkpoint_modules("sd2", shapes) == expected


def test_other_families_have_no_table() -> None:
    assert checkpoint_modules("flux1", {}) is None
