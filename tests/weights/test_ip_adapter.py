"""IP-Adapter files are told apart, proved whole and fitted to a UNet by names and shapes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from support.ip_adapters import SD15_WIDTHS, attention_shapes, lora_shapes, projection_shapes

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.sources.bundled import bundled_config
from recipe_runner.weights.ip_adapter import (
    IpAdapterLayout,
    fit_ip_adapter,
    identify_ip_adapter,
    read_ip_adapter,
    unet_attentions,
)

if TYPE_CHECKING:
    from recipe_runner.weights.modules import Shape

SIZES = {
    "base": {"cross": 768, "read": 1024},
    "plus": {"cross": 768, "read": 1280, "heads": 12, "tokens": 16},
    "full": {"cross": 768, "read": 1280},
    "faceid": {"cross": 768, "read": 0},
    "faceid_plus": {"cross": 768, "read": 1280, "heads": 12},
}
"""The files of h94 for Stable Diffusion 1.5."""


def sd15_file(variant: str) -> dict[str, Shape]:
    shapes = projection_shapes(variant, **SIZES[variant]) | attention_shapes(SD15_WIDTHS, 768)
    return shapes | (lora_shapes(SD15_WIDTHS, 768, 128) if variant.startswith("faceid") else {})


def sd15_modules(cross: int = 768) -> dict[str, Shape]:
    """The attentions of Stable Diffusion 1.5's UNet, in the order that no header keeps: by name."""
    blocks = [f"down_blocks.{b}.attentions.{a}" for b in range(3) for a in range(2)]
    blocks += [f"up_blocks.{b}.attentions.{a}" for b in range(1, 4) for a in range(3)]
    blocks += ["mid_block.attentions.0"]
    found: dict[str, Shape] = {}
    for block, width in zip(blocks, SD15_WIDTHS, strict=True):
        for kind, read in ((1, width), (2, cross)):
            attention = f"{block}.transformer_blocks.0.attn{kind}"
            shapes = {"to_q": (width, width), "to_k": (width, read), "to_v": (width, read), "to_out.0": (width, width)}
            found |= {f"{attention}.{name}": shape for name, shape in shapes.items()}
    return dict(sorted(found.items()))


@pytest.mark.parametrize(
    ("variant", "tokens", "image", "face", "counts"),
    [
        ("base", 4, 1024, None, {"unet": 32, "image_proj": 4}),
        ("plus", 16, 1280, None, {"unet": 32, "image_proj": 7 + 4 * 11}),
        ("full", 0, 1280, None, {"unet": 32, "image_proj": 6}),
        ("faceid", 4, None, 512, {"unet": 32 + 256, "image_proj": 6}),
        ("faceid_plus", 4, 1280, 512, {"unet": 32 + 256, "image_proj": 6 + 6 + 4 * 11}),
    ],
)
def test_the_files_of_h94(variant: str, tokens: int, image: int, face: int, counts: dict[str, int]) -> None:
    shapes = sd15_file(variant)
    layout = read_ip_adapter(shapes, "adapter look")
    assert (layout.variant, layout.tokens, layout.image_width, layout.face_width) == (variant, tokens, image, face)
    assert (layout.made_for, layout.tensor_counts(), sum(counts.values())) == ("SD 1.x", counts, layout.tensor_count)
    places = fit_ip_adapter(layout, shapes, sd15_modules(), "adapter look")
    assert [place.number for place in places if place.acts] == list(range(1, 33, 2))


def test_attentions_are_numbered_as_the_unet_registers_them() -> None:
    modules = [place.module for place in unet_attentions(sd15_modules())]
    assert modules[:2] == [f"down_blocks.0.attentions.0.transformer_blocks.0.attn{kind}" for kind in (1, 2)]
    assert modules[-1] == "mid_block.attentions.0.transformer_blocks.0.attn2"
    names = {f"down_blocks.1.attentions.0.transformer_blocks.{n}.attn2.to_k": (8, 4) for n in range(11)}
    assert [place.module.split(".")[5] for place in unet_attentions(names)] == [str(n) for n in range(11)]


FLUX = {"double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight": (3072, 4096)}
BIASED = {"image_proj.proj.weight": (8, 4), "ip_adapter.0.to_k_ip.bias": (3072,)}
SD3 = {"image_proj.latents": (1, 64, 1280), "ip_adapter.0.norm_ip_q.weight": (8,)}
INSTANTX = projection_shapes("faceid", cross=4096, read=0, face=1152) | {"ip_adapter.0.to_k_ip.weight": (3072, 4096)}


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({}, "it is empty"),
        ({"": (3, 8)}, "it is one tensor without a name"),
        ({"lora_unet_x.lora_up.weight": (1, 1)}, "it is not an IP-Adapter"),
        ({"ip_adapter.1.to_k_ip.weight": (8, 4)}, "no image projection"),
        ({"image_proj.strange": (8, 4)}, "of an unknown kind"),
        ({"image_proj.proj.weight": (8,)}, "image_proj.norm.weight"),
        (FLUX, "no image projection"),
        (BIASED, "it is an IP-Adapter for Flux, and its image projection lacks the tensor image_proj.norm.weight"),
        (SD3, "it is an IP-Adapter for Stable Diffusion 3, and its image projection lacks"),
        (INSTANTX, "it is InstantX's IP-Adapter for Flux, which diffusers has no classes for"),
        ({"unet.conv_in.weight": (1,), "image_proj_model.proj.weight": (8, 4)}, "a checkpoint of IP-Adapter's trainer"),
    ],
)
def test_what_is_no_ip_adapter_here_is_named(shapes: dict[str, Shape], words: str) -> None:
    assert words in str(identify_ip_adapter(shapes))
    with pytest.raises(RecipeRunnerError) as caught:
        read_ip_adapter(shapes, "adapter look")
    assert caught.value.problems[0].code == "E640"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_proj.norm.bias": None}, "image_proj.norm.bias is missing"),
        ({"image_proj.proj.bias": (1,)}, "has the shape 1, expected 3072"),
        ({"image_proj.extra": (1,)}, "image_proj.extra is unexpected"),
        ({"ip_adapter.3.to_v_ip.weight": None}, "ip_adapter.3.to_v_ip.weight is missing"),
        ({"ip_adapter.3.to_v_ip.weight": (320, 1024)}, "and its image tokens have 768 features"),
        ({"ip_adapter.3.to_v_ip.weight": (64, 768)}, "keys and values of different widths"),
        ({"ip_adapter.0.to_q_lora.down.weight": (4, 320)}, "to_q_lora.up.weight is missing"),
        ({"epoch": (1,)}, "epoch is unexpected"),
    ],
)
def test_a_file_that_is_not_whole(change: dict[str, Shape | None], words: str) -> None:
    changed = sd15_file("base") | change
    shapes = {key: shape for key, shape in changed.items() if shape is not None}
    with pytest.raises(RecipeRunnerError) as caught:
        read_ip_adapter(shapes, "adapter look")
    assert caught.value.problems[0].code == "E641"
    assert words in str(caught.value)
    assert isinstance(identify_ip_adapter(shapes), IpAdapterLayout)


@pytest.mark.parametrize(
    ("variant", "modules", "words"),
    [
        ("base", sd15_modules(2048), "has cross-attention width 768 (SD 1.x); the base's is 2048 (SDXL)"),
        ("base", {k: s for k, s in sd15_modules().items() if "mid" not in k}, "16 cross-attentions; the UNet has 15"),
        (
            "base",
            {k: (s[0] * 2, *s[1:]) if "down_blocks.0" in k else s for k, s in sd15_modules().items()},
            "has 640 features and the file 320",
        ),
        (
            "faceid",
            {k: (s[0], 8) if k.endswith("attn1.to_q") else s for k, s in sd15_modules().items()},
            "its LoRA maps 320 to 320 features",
        ),
    ],
)
def test_a_file_for_another_unet(variant: str, modules: dict[str, Shape], words: str) -> None:
    shapes = sd15_file(variant)
    with pytest.raises(RecipeRunnerError) as caught:
        fit_ip_adapter(read_ip_adapter(shapes, "adapter look"), shapes, modules, "adapter look")
    assert caught.value.problems[0].code == "E642"
    assert words in str(caught.value)


@pytest.mark.parametrize(("family", "count"), [("sd1", 16), ("sd2", 16), ("sdxl", 70)])
def test_the_order_of_attentions_is_that_of_true_unets(family: str, count: int) -> None:
    config = bundled_config(family)
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(config.root / "unet"))
    modules = {n: tuple(m.weight.shape) for n, m in unet.named_modules() if getattr(m, "weight", None) is not None}
    places = unet_attentions(modules)
    assert [f"{place.module}.processor" for place in places] == list(unet.attn_processors)
    assert [place.number for place in places if place.acts] == list(range(1, 2 * count, 2))
