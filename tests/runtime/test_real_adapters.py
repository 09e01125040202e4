"""Files that other people's trainers wrote, applied to models of the true SD 1.5 shape: every key, and true values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from support.handles import lora_model
from support.module_tables import SHARED, modules_of, table, unet
from transformers import CLIPTextConfig, CLIPTextModel

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.lora.file import translate
from recipe_runner.runtime.lora.tuners import Tuners

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REAL = SHARED / "adapters"
BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0"
UNDERSCORED = BLOCK.replace(".", "_")
Tensors = dict[str, torch.Tensor]

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real files of ../shared/data are not here")


def pair(tensors: Tensors, stem: str, down: str, up: str) -> torch.Tensor:
    """Up times down, of a file that states no alpha."""
    return tensors[f"{stem}{up}.weight"].double() @ tensors[f"{stem}{down}.weight"].double()


def numbered(tensors: Tensors, stem: str) -> torch.Tensor:
    """Up times down of a module that cloneofsimo's trainer counted."""
    return tensors[f"{stem}:up"].double() @ tensors[f"{stem}:down"].double()


def kron(tensors: Tensors, stem: str) -> torch.Tensor:
    """The Kronecker product of a LoKr of rank 4; a convolution has its columns as (in, height, width)."""
    blocks = []
    for number in "12":
        if f"{stem}.lokr_w{number}" in tensors:
            blocks.append(tensors[f"{stem}.lokr_w{number}"].double().flatten(1))
        else:
            first, second = (tensors[f"{stem}.lokr_w{number}_{side}"].double() for side in "ab")
            blocks.append(first @ second.flatten(1))
    return torch.kron(*blocks) * float(tensors[f"{stem}.alpha"]) / 4


FILES: Mapping[str, tuple[str, int, Mapping[str, Callable[[Tensors], torch.Tensor]]]] = {
    "lora-pokemon-peft": ("unet", 128, {
        f"{BLOCK}.attn1.to_out.0": lambda t: pair(t, f"unet.{BLOCK}.attn1.to_out.0.lora", ".down", ".up"),
        f"{BLOCK}.attn2.to_k": lambda t: pair(t, f"unet.{BLOCK}.attn2.to_k.lora", ".down", ".up"),
    }),
    "lora-attn-procs": ("unet", 128, {
        f"{BLOCK}.attn1.to_out.0": lambda t: pair(t, f"{BLOCK}.attn1.processor.to_out_lora", ".down", ".up"),
        f"{BLOCK}.attn2.to_v": lambda t: pair(t, f"{BLOCK}.attn2.processor.to_v_lora", ".down", ".up"),
    }),
    "lora-kohya-prefixed": ("unet", 128, {
        f"{BLOCK}.attn1.to_q": lambda t: pair(t, f"lora_unet_unet_{UNDERSCORED}_attn1_to_q_lora", "_down", "_up"),
        f"{BLOCK}.attn2.to_k": lambda t: pair(t, f"lora_unet_unet_{UNDERSCORED}_attn2_to_k_lora", "_down", "_up"),
    }),
    "lora-cloneofsimo-disney": ("unet", 144, {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": lambda t: numbered(t, "unet:0"),
        "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj": lambda t: numbered(t, "unet:4"),
    }),
    "lora-cloneofsimo-disney text": ("text_encoder", 48, {
        "encoder.layers.1.self_attn.v_proj": lambda t: numbered(t, "text_encoder:5"),
    }),
    "lycoris-lokr-smart-falcon-4": ("unet", 278, {
        f"{BLOCK}.attn1.to_q": lambda t: kron(t, f"lora_unet_{UNDERSCORED}_attn1_to_q"),
        f"{BLOCK}.ff.net.0.proj": lambda t: kron(t, f"lora_unet_{UNDERSCORED}_ff_net_0_proj"),
        "down_blocks.0.resnets.1.conv1": lambda t: kron(t, "lora_unet_down_blocks_0_resnets_1_conv1"),
        "up_blocks.3.resnets.2.time_emb_proj": lambda t: kron(t, "lora_unet_up_blocks_3_resnets_2_time_emb_proj"),
    }),
    "lycoris-lokr-smart-falcon-4 text": ("text_encoder", 72, {
        "encoder.layers.5.self_attn.v_proj": lambda t: kron(t, "lora_te_text_model_encoder_layers_5_self_attn_v_proj"),
        "encoder.layers.11.mlp.fc1": lambda t: kron(t, "lora_te_text_model_encoder_layers_11_mlp_fc1"),
    }),
}  # fmt: skip
"""Component, modules that the file changes there, and of a few of them the difference, by keys written out by hand."""


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """SD 1.5's UNet and text encoder; memory that is never touched is never taken, so only few weights have values."""
    with torch.device("meta"):
        made: dict[str, Any] = {
            "unet": UNet2DConditionModel.from_config(unet("sd1").config),
            "text_encoder": CLIPTextModel(CLIPTextConfig.from_pretrained(SHARED / "sd15" / "text_encoder")),
        }
    for model in made.values():
        model.to_empty(device="cpu").requires_grad_(requires_grad=False)
    return made


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_is_applied_whole_and_exactly(name: str, models: dict[str, Any]) -> None:
    path = REAL / f"{name.removesuffix(' text')}.safetensors"
    part, count, deltas = FILES[name]
    tables = {component: modules_of(model) for component, model in models.items()}
    changes = translate(lora_model(path), tables, allow_pickle=False).parts[part]
    tuners = Tuners(models[part])
    tuners.add("x", changes)
    assert tuners.holds("x") == len(changes) == count
    tensors = load_file(path)
    for module, expected in deltas.items():
        own = models[part].get_submodule(module)
        torch.nn.init.normal_(own.weight, std=0.02, generator=torch.Generator().manual_seed(1))
        before = own.weight.clone().double()
        tuners.activate([("x", {module: 0.6})])
        live = models[part].get_submodule(module)
        delta = 0.6 * expected(tensors).reshape(before.shape)
        assert delta.norm() > 0
        found = own.weight.double() - before if live is own else live.get_delta_weight("x").double()
        # The weight is float32: beside a small difference its own rounding shows.
        assert (found - delta).norm() <= 1e-6 * delta.norm() + 6e-8 * before.norm(), module
    tuners.activate([])


def test_an_sd_2_file_is_refused_with_the_true_reason() -> None:
    with pytest.raises(RecipeRunnerError) as caught:
        translate(lora_model(REAL / "lora-sd21.safetensors"), table("sd1"), allow_pickle=False)
    (problem,) = caught.value.problems
    assert "trained on SD 2.x" in problem.hint
    assert "the base is SD 1.x" in problem.hint
