"""IP-Adapters of Flux and Stable Diffusion 3 are told, proved whole and fitted by names and shapes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from support.ip_adapters import SD15_WIDTHS, attention_shapes, flux_shapes, projection_shapes, sd3_shapes

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.weights.ip_adapter import (
    IpAdapterLayout,
    check_encoder,
    check_family,
    check_image_prompt,
    expand_ip_scale,
    fit_ip_adapter,
    identify_ip_adapter,
    joint_attentions,
    read_ip_adapter,
)

if TYPE_CHECKING:
    from recipe_runner.weights.modules import Shape

XLABS = flux_shapes()
V2 = flux_shapes(tokens=16, xlabs=False)
INSTANTX = sd3_shapes()
TRANSLATED = sd3_shapes(translated=True)


def modules_of(model: Any) -> dict[str, Shape]:
    return {n: tuple(m.weight.shape) for n, m in model.named_modules() if getattr(m, "weight", None) is not None}


def flux(**changes: Any) -> Any:
    with torch.device("meta"):
        return FluxTransformer2DModel(guidance_embeds=True, **{"num_single_layers": 2, **changes})


def sd35(**changes: Any) -> Any:
    settings = {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "qk_norm": "rms_norm"}
    with torch.device("meta"):
        return SD3Transformer2DModel(**{**settings, **changes})


def landed(shapes: dict[str, Shape], model: Any) -> tuple[IpAdapterLayout, list[str]]:
    layout = read_ip_adapter(shapes, "adapter look")
    places = fit_ip_adapter(layout, shapes, modules_of(model), "adapter look")
    keys = [*layout.projection, *(key for part in layout.layers.values() for key in part.values())]
    # Every tensor of the file lands, once.
    assert sorted(keys) == sorted(shapes)
    return layout, [place.module for place in places]


@pytest.mark.parametrize(
    ("shapes", "naming", "tokens"), [(XLABS, "xlabs", 4), (V2, "diffusers", 16), (flux_shapes(tokens=7), "xlabs", 7)]
)
def test_the_files_for_flux(shapes: dict[str, Shape], naming: str, tokens: int) -> None:
    model = flux()
    layout, modules = landed(shapes, model)
    assert (layout.variant, layout.naming, layout.tokens, layout.image_width) == ("flux", naming, tokens, 768)
    assert (layout.made_for, layout.tensor_counts()) == ("Flux", {"transformer": 4 * 19, "image_proj": 4})
    single = [name for name in model.attn_processors if not name.startswith("single")]
    assert [f"{module}.processor" for module in modules] == single


@pytest.mark.parametrize(("shapes", "naming"), [(INSTANTX, "instantx"), (TRANSLATED, "diffusers")])
def test_the_files_for_stable_diffusion_3(shapes: dict[str, Shape], naming: str) -> None:
    model = sd35()
    layout, modules = landed(shapes, model)
    assert (layout.variant, layout.naming, layout.tokens, layout.image_width) == ("sd3", naming, 64, 1152)
    assert layout.tensor_counts() == {"transformer": 7 * 38, "image_proj": 1 + 6 + 4 + 4 * 13}
    assert [f"{module}.processor" for module in modules] == list(model.attn_processors)


def test_a_second_attention_in_a_block_is_numbered_as_the_transformer_registers_it() -> None:
    model = sd35(num_layers=12, dual_attention_layers=tuple(range(3)))
    places = joint_attentions(modules_of(model))
    assert [f"{place.module}.processor" for place in places] == list(model.attn_processors)
    assert [place.number for place in places] == list(range(15))


@pytest.mark.parametrize(
    ("shapes", "change", "words"),
    [
        (
            XLABS,
            {"double_blocks.3.processor.ip_adapter_double_stream_v_proj.bias": None},
            "double_blocks.3.processor.ip_adapter_double_stream_v_proj.bias is missing",
        ),
        (XLABS, {"ip_adapter_proj_model.norm.bias": None}, "ip_adapter_proj_model.norm.bias is missing"),
        (XLABS, {"double_blocks.3.processor.qkv_lora1.up.weight": (8, 8)}, "qkv_lora1.up.weight is unexpected"),
        (V2, {"ip_adapter.2.to_k_ip.weight": (3072, 768)}, "and its image tokens have 4096 features"),
        (V2, {"ip_adapter.2.to_k_ip.bias": (1,)}, "ip_adapter.2.to_k_ip.bias has the shape 1, expected 3072"),
        (V2, {"ip_adapter.0.ip_adapter_double_stream_k_proj.bias": (3072,)}, "is unexpected"),
        (INSTANTX, {"ip_adapter.9.norm_ip_k.weight": None}, "ip_adapter.9.norm_ip_k.weight is missing"),
        (INSTANTX, {"ip_adapter.9.norm_ip.linear.bias": (1,)}, "has the shape 1, expected 4864"),
        (INSTANTX, {"ip_adapter.9.norm_ip_q.weight": (64,)}, "norm_ip_q.weight is unexpected"),
        (INSTANTX, {"image_proj.layers.2.2.1.bias": None}, "image_proj.layers.2.2.1.bias is missing"),
        (TRANSLATED, {"image_proj.layers.2.adaln_proj.bias": None}, "layers.2.adaln_proj.bias is missing"),
    ],
)
def test_a_file_that_is_not_whole(shapes: dict[str, Shape], change: dict[str, Shape | None], words: str) -> None:
    changed = {key: shape for key, shape in (shapes | change).items() if shape is not None}
    with pytest.raises(RecipeRunnerError) as caught:
        read_ip_adapter(changed, "adapter look")
    assert caught.value.problems[0].code == "E641"
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("shapes", "model", "words"),
    [
        # diffusers takes the first 8 of 19 without a word.
        (XLABS, flux(num_layers=8), "is for 19 attentions; the transformer has 8"),
        (XLABS, flux(num_layers=19, num_attention_heads=16), "has 2048 features and the file 3072"),
        (INSTANTX, sd35(num_layers=24), "is for 38 attentions; the transformer has 24"),
        (sd3_shapes(head=32), sd35(), "has heads of 64 features and the file of 32"),
    ],
)
def test_a_file_for_another_transformer(shapes: dict[str, Shape], model: Any, words: str) -> None:
    with pytest.raises(RecipeRunnerError) as caught:
        landed(shapes, model)
    assert caught.value.problems[0].code == "E642"
    assert words in str(caught.value)


UNET = projection_shapes("base", cross=768, read=1024) | attention_shapes(SD15_WIDTHS, 768)


@pytest.mark.parametrize(
    ("shapes", "pipeline", "words"),
    [
        (XLABS, "StableDiffusionPipeline", "made for Stable Diffusion 1, 2 and SDXL"),
        (INSTANTX, "FluxPipeline", "made for Flux"),
        (UNET, "StableDiffusion3Pipeline", "made for Stable Diffusion 3"),
    ],
)
def test_a_file_for_another_family(shapes: dict[str, Shape], pipeline: str, words: str) -> None:
    layout = identify_ip_adapter(shapes)
    assert isinstance(layout, IpAdapterLayout)
    check_family(layout, layout.family.pipelines[0], "adapter look")
    with pytest.raises(RecipeRunnerError) as caught:
        check_family(layout, pipeline, "adapter look")
    assert caught.value.problems[0].code == "E642"
    assert words in caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("shapes", "config", "words"),
    [
        (XLABS, {"architectures": ["CLIPModel"], "vision_config": {"projection_dim": 768}}, ""),
        (XLABS, {"architectures": ["CLIPVisionModelWithProjection"], "projection_dim": 1024}, "has 1024"),
        (XLABS, {"architectures": ["SiglipModel"], "vision_config": {}}, "expected a CLIPVisionModelWithProjection"),
        (INSTANTX, {"architectures": ["SiglipModel"], "vision_config": {"hidden_size": 1152}}, ""),
        (INSTANTX, {"architectures": ["SiglipVisionModel"], "hidden_size": 768}, "has 768"),
        (INSTANTX, {"architectures": ["CLIPModel"]}, "such as google/siglip-so400m-patch14-384"),
    ],
)
def test_the_image_encoder(shapes: dict[str, Shape], config: dict[str, Any], words: str) -> None:
    layout = read_ip_adapter(shapes, "adapter look")
    if not words:
        check_encoder(layout, config, "adapter look")
        return
    with pytest.raises(RecipeRunnerError) as caught:
        check_encoder(layout, config, "adapter look")
    assert caught.value.problems[0].code == "E644"
    assert words in f"{caught.value} {caught.value.problems[0].hint}"


@pytest.mark.parametrize(
    ("shapes", "embedding", "count", "negative"),
    [
        (XLABS, (768,), 1, False),
        (XLABS, (3, 768), 3, False),
        (XLABS, (2, 3, 768), 3, True),
        # SD 3's `prepare_ip_adapter_image_embeds` has no dimension for images; zeros are its negative.
        (INSTANTX, (729, 1152), 1, True),
        (INSTANTX, (1, 729, 1152), 1, True),
        (INSTANTX, (2, 729, 1152), 1, True),
        (INSTANTX, (2, 3, 729, 1152), 3, True),
        (INSTANTX, (3, 729, 1152), 0, False),
        (INSTANTX, (1152,), 0, False),
    ],
)
def test_what_an_embedding_means(
    shapes: dict[str, Shape],
    embedding: Shape,
    count: int,
    negative: bool,  # noqa: FBT001 - a column of the table
) -> None:
    layout = read_ip_adapter(shapes, "adapter look")
    if not count:
        with pytest.raises(RecipeRunnerError) as caught:
            check_image_prompt(layout, 0, [("x.npy", embedding)], "adapter look")
        assert caught.value.problems[0].code == "E646"
        return
    shown = check_image_prompt(layout, 0, [("x.npy", embedding)], "adapter look")
    assert (shown.count, shown.negative) == (count, negative)


def test_scales_by_block() -> None:
    modules = modules_of(flux(num_layers=3))
    places = joint_attentions(modules)
    attentions = [f"transformer_blocks.{number}.attn" for number in range(3)]
    for scale, expected in (
        (0.5, [0.5, 0.5, 0.5]),
        ({"transformer_blocks": 0.5}, [0.5, 0.5, 0.5]),
        ({"transformer_blocks": [0.1, 0.2, 0.3]}, [0.1, 0.2, 0.3]),
        ({"transformer_blocks": {"block_1": 0.2}}, [0.0, 0.2, 0.0]),
    ):
        found = expand_ip_scale(scale, places, modules, label="adapter look")
        assert found == dict(zip(attentions, expected, strict=True))
    for scale, code in (
        ({"transformer_blocks": [0.1, 0.2]}, "E612"),
        ({"transformer_blocks": {"block_3": 0.2}}, "E611"),
        ({"single_transformer_blocks": 1.0}, "E613"),
        ({"up": 1.0}, "E611"),
    ):
        with pytest.raises(RecipeRunnerError) as caught:
            expand_ip_scale(scale, places, modules, label="adapter look")
        assert caught.value.problems[0].code == code
