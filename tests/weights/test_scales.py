"""Scales per component and block: equal to diffusers' own expansion where that is right, errors where it is silent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.unet_loader_utils import _maybe_expand_lora_scales
from diffusers.utils.peft_utils import set_weights_and_activate_adapters
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from support.module_tables import modules_of, table

from recipe_runner.canonical import Json
from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.lora import LoraLayout, LoraModule, expand_scales
from recipe_runner.weights.modules import ModuleTable

SMALL = {
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "cross_attention_dim": 8,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
    "sample_size": 8,
}
TARGETS = ["to_q", "to_out.0", "conv1", "ff.net.2", "conv", "proj_in"]
"""Attentions, resnets and samplers; nothing outside the blocks, where diffusers' dictionaries raise IndexError."""


def small_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(**SMALL)


def adapted(unet: UNet2DConditionModel) -> tuple[list[str], ModuleTable]:
    """The names of the modules that an adapter of TARGETS lands on, and the UNet's table before it."""
    modules = modules_of(unet)
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2, target_modules=TARGETS), unet, "x")
    names = [name for name, module in unet.named_modules() if isinstance(module, BaseTunerLayer)]
    return names, {"unet": modules}


def layout_of(**own: list[str]) -> LoraLayout:
    return LoraLayout(
        layout="diffusers",
        modules=tuple(
            LoraModule(component=component, module=name, kind="lora", tensors={}, shape=(1, 1), rank=1)
            for component, names in own.items()
            for name in names
        ),
    )


@pytest.mark.parametrize(
    "scale",
    [
        0.5,
        0,
        -1.5,
        {},
        {"down": 0.9},
        {"mid": 0.3},
        {"mid": [0.3]},
        {"up": 0.2, "mid": 0.0},
        {"up": [0.1, 0.2, 0.3]},
        {"up": [0.7], "down": {"block_2": [0.4]}},
        {"down": {"block_1": 0.4}},
        {"down": {"block_1": [0.4, 0.5]}, "up": {"block_0": 0.6, "block_1": [0.4, 0.8, 1.0]}},
        {"down": {"block_1": 0.1, "block_2": [0.2, 0.3]}, "mid": 4, "up": {"block_0": [1, 2, 3]}},
    ],
    ids=repr,
)
def test_equals_what_set_adapters_makes_of_it(scale: Any) -> None:
    torch.manual_seed(0)
    unet = small_unet()
    names, modules = adapted(unet)
    weights = _maybe_expand_lora_scales(unet, [scale], default_scale=1.0)
    set_weights_and_activate_adapters(unet, ["x"], weights)
    theirs = {name: unet.get_submodule(name).scaling["x"] for name in names}
    ours = expand_scales({"unet": scale}, layout_of(unet=names), modules, label="adapter x")
    assert {name: ours["unet", name] for name in names} == pytest.approx(theirs)


OUTSIDE = ["conv_in", "time_embedding.linear_1", "conv_out", "down_blocks.1.attentions.0.proj_in"]


def test_what_lies_outside_the_blocks_keeps_one_but_follows_a_number() -> None:
    layout = layout_of(unet=OUTSIDE)
    found = expand_scales({"unet": {"down": 0.5}}, layout, {"unet": modules_of(small_unet())}, label="adapter x")
    assert list(found.values()) == [1.0, 1.0, 1.0, 0.5]
    assert set(expand_scales(0.5, layout, {}, label="adapter x").values()) == {0.5}


def test_components_left_out_keep_one() -> None:
    layout = layout_of(unet=["down_blocks.1.attentions.0.proj_in"], text_encoder=["encoder.layers.0.mlp.fc1"])
    found = expand_scales({"text_encoder": 0.5}, layout, table("sd1"), label="adapter x")
    assert list(found.values()) == [1.0, 0.5]


def flux(scale: Json) -> list[float]:
    names = ["transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.to_q", "single_transformer_blocks.0.proj_mlp"]
    layout = layout_of(transformer=[*names, "proj_out"])
    return list(expand_scales({"transformer": scale}, layout, table("flux1"), label="adapter x").values())


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (0.5, [0.5, 0.5, 0.5, 0.5]),
        ({"transformer_blocks": 0.5}, [0.5, 0.5, 1.0, 1.0]),
        ({"transformer_blocks": [0.1, 0.2], "single_transformer_blocks": {"block_0": 0.3}}, [0.1, 0.2, 0.3, 1.0]),
        ({"transformer_blocks": {"block_1": 0.5}}, [1.0, 0.5, 1.0, 1.0]),
    ],
    ids=repr,
)
def test_a_transformers_lists_of_blocks(scale: Json, expected: list[float]) -> None:
    assert flux(scale) == expected


BASE = {"unet": table("sd1")["unet"], "text_encoder": table("sd1")["text_encoder"]}
OWN = layout_of(unet=["down_blocks.1.attentions.0.proj_in", "up_blocks.3.resnets.2.conv1", "mid_block.resnets.0.conv1"])


@pytest.mark.parametrize(
    ("scale", "said", "hint"),
    [
        ({"transformer": 1.0}, "E611 .transformer: the base has no transformer", "it has unet, text_encoder"),
        ({"text_encoder": 1.0}, "E613 .text_encoder: the adapter has nothing in text_encoder", "it has unet"),
        ({"unet": {"middle": 1.0}}, "E611 .unet.middle: not a part of a UNet", "its parts are down, mid and up"),
        (
            {"unet": {"up": {"block_9": 1.0}}},
            "E611 .unet.up.block_9: no such block, or one without attentions",
            "the up blocks with attentions are block_1, block_2, block_3",
        ),
        (
            {"unet": {"down": {"block_3": 1.0}}},
            "E611 .unet.down.block_3: no such block, or one without attentions",
            "the down blocks with attentions are block_0, block_1, block_2",
        ),
        (
            {"unet": {"up": {"blok_1": 1.0}}},
            "E611 .unet.up.blok_1: no such block, or one without attentions",
            "the up blocks with attentions are block_1, block_2, block_3",
        ),
        (
            {"unet": {"up": {"block_3": [1.0, 2.0]}}},
            "E612 .unet.up.block_3: 2 numbers, expected 3",
            "write one number for all, or one for each",
        ),
        (
            {"unet": {"down": [1.0, 1.0, 1.0]}},
            "E612 .unet.down: 3 numbers, expected 2",
            "write one number for all, or one for each",
        ),
        ({"unet": {"mid": [1.0, 2.0]}}, "E612 .unet.mid: 2 numbers for 1 attention", "write one number"),
        ({"unet": {"mid": {"block_0": 1.0}}}, "E611 .unet.mid: mid is one block", "write a number"),
        (
            {"unet": {"mid": 0.5}},
            "E613 .unet.mid: the adapter has nothing in the middle block's attention",
            "",
        ),
        (
            {"unet": {"down": {"block_0": 0.5}}},
            "E613 .unet.down.block_0: the adapter has nothing in that block",
            "it has something in down.block_1, up.block_3, mid",
        ),
    ],
    ids=repr,
)
def test_a_key_that_names_nothing_is_an_error(scale: Json, said: str, hint: str) -> None:
    with pytest.raises(WeightsError) as caught:
        expand_scales(scale, OWN, BASE, label="adapter x")
    (problem,) = caught.value.problems
    assert f"{problem.code} {problem.message.removeprefix('adapter x: scale')}" == said
    assert problem.hint == hint


@pytest.mark.parametrize(
    ("scale", "code"),
    [
        ({"blocks": 0.5}, "E611"),
        ({"transformer_blocks": [0.5]}, "E612"),
        ({"transformer_blocks": {"block_2": 0.5}}, "E611"),
        ({"single_transformer_blocks": {"block_1": 0.5}}, "E613"),
    ],
    ids=repr,
)
def test_a_transformers_keys_are_checked_too(scale: Json, code: str) -> None:
    with pytest.raises(WeightsError) as caught:
        flux(scale)
    assert caught.value.problems[0].code == code


def test_a_text_encoder_has_one_scale() -> None:
    layout = layout_of(text_encoder=["encoder.layers.0.mlp.fc1"])
    with pytest.raises(WeightsError, match="a text encoder has one scale"):
        expand_scales({"text_encoder": {"layers": 0.5}}, layout, BASE, label="adapter x")
