"""Files as other programs really save them: PEFT's and diffusers' own, odd data types, spoilt numbers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import peft
import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig
from safetensors.torch import save_file
from support import lycoris as kinds
from support.handles import base_model, handle, lora_model
from support.module_tables import modules_of
from support.plain import plain_pipeline

import recipe_runner
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.lora.deltas import LowRankDelta
from recipe_runner.runtime.lora.file import Translated, translate
from recipe_runner.runtime.lora.tuners import Tuners

if TYPE_CHECKING:
    from pathlib import Path

ENDS = ["attn1.to_q", "attn2.to_k", "conv1", "time_emb_proj"]
TRAINED: dict[str, Any] = {
    "rank-stabilized, with patterns": LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, rank_pattern={"to_q": 2}, alpha_pattern={"attn2.to_k": 3},
        target_modules=ENDS, init_lora_weights=False,
    ),
    "dora": LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=ENDS, init_lora_weights=False),
    "lokr": LoKrConfig(r=2, alpha=8, alpha_pattern={"to_q": 3}, target_modules=ENDS, init_weights=False),
    "lokr with a core": LoKrConfig(r=2, alpha=8, use_effective_conv2d=True, target_modules=ENDS, init_weights=False),
    "lokr of factors": LoKrConfig(
        r=1, alpha=8, decompose_both=True, decompose_factor=8, target_modules=ENDS, init_weights=False
    ),
    "lokr whole": LoKrConfig(r=64, alpha=8, target_modules=ENDS, init_weights=False),
    "loha": LoHaConfig(r=2, alpha=8, target_modules=ENDS, init_weights=False),
}  # fmt: skip


def read(model: torch.nn.Module, path: Path) -> Translated:
    return translate(lora_model(path), {"unet": modules_of(model)}, allow_pickle=True)


def applied(model: torch.nn.Module, file: Translated) -> torch.nn.Module:
    tuners = Tuners(model)
    tuners.add("x", file.parts["unet"])
    tuners.activate([("x", {change.module: 1.0 for change in file.parts["unet"]})])
    return model


def output(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents, text = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 7, 32, generator=generator)
    with torch.no_grad():
        found: torch.Tensor = unet(latents, 5, text).sample
    return found.double()


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", TRAINED)
def test_what_save_lora_adapter_writes_does_what_peft_did(name: str, sd15_folder: Path, tmp_path: Path) -> None:
    theirs, ours = (plain_pipeline(sd15_folder).unet for _ in range(2))
    untouched = output(theirs)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        peft.inject_adapter_in_model(TRAINED[name], theirs, "default")
    theirs.peft_config = {"default": TRAINED[name]}
    theirs.save_lora_adapter(tmp_path, weight_name="x.safetensors")
    expected = output(theirs.eval())
    assert error(output(applied(ours, read(ours, tmp_path / "x.safetensors"))), expected) < 3e-6
    assert error(untouched, expected) > 0.01


HEAD = """\
recipe: 1
name: x
base: {model: model}
prompts: [{prompt: a bear}]
"""


def test_what_peft_saves_counts_with_the_configuration_beside_it(sd15_folder: Path, tmp_path: Path) -> None:
    unet = plain_pipeline(sd15_folder).unet
    (tmp_path / "model").symlink_to(sd15_folder)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["attn1.to_q", "conv1"], init_lora_weights=False)
    theirs = peft.get_peft_model(unet, config).eval()
    theirs.save_pretrained(tmp_path / "trained")
    (tmp_path / "trained" / "another.safetensors").write_bytes(b"")
    (tmp_path / "recipe.yaml").write_text(HEAD + "adapters:\n  x: {kind: lora, model: trained}\n")
    plan = recipe_runner.compile_recipe(tmp_path / "recipe.yaml")
    assert list(plan.recipe.sources()) == ["base", "adapters.x", "adapters.x.config"]
    live = LivePipeline("cpu", "strict", 1)
    (adapter,) = plan.recipe.variants[0].adapters
    wanted = handle(base_model(sd15_folder), adapter, x=1.0)
    assert torch.equal(output(live.require(wanted).unet), output(theirs))
    said = tmp_path / "trained" / "adapter_config.json"
    told = json.loads(said.read_text())
    said.write_text(json.dumps({**told, "lora_alpha": 8}))
    assert recipe_runner.compile_recipe(tmp_path / "recipe.yaml").digest != plan.digest
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu", "strict", 1).require(wanted)
    assert caught.value.problems[0].code == "E508"
    said.write_text(json.dumps({**told, "r": 3}))
    with pytest.raises(RecipeRunnerError, match=r"adapter_config\.json states rank 3 for ") as caught:
        recipe_runner.compile_recipe(tmp_path / "recipe.yaml")
    assert caught.value.problems[0].code == "E605"


def test_training_that_began_by_changing_the_base_is_refused(sd15_folder: Path, tmp_path: Path) -> None:
    unet = plain_pipeline(sd15_folder).unet
    unet.add_adapter(LoraConfig(r=4, init_lora_weights="pissa", target_modules=["attn1.to_q"]))
    unet.save_lora_adapter(tmp_path, weight_name="x.safetensors")
    with pytest.raises(RecipeRunnerError, match="init_lora_weights pissa") as caught:
        read(plain_pipeline(sd15_folder).unet, tmp_path / "x.safetensors")
    (problem,) = caught.value.problems
    assert (problem.code, "path_initial_model_for_weight_conversion" in problem.hint) == ("E605", True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_core_in_few_bits_is_taken_in_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    model = kinds.Small()
    tensors, made = kinds.file_of({"conv3": kinds.tucker}, model, 1)
    save_file({key: tensor.to(dtype) for key, tensor in tensors.items()}, tmp_path / "x.safetensors")
    (factor,) = read(model, tmp_path / "x.safetensors").parts["unet"]
    roles = {role: tensor.to(dtype) for role, tensor in made["conv3"].items()}
    expected = kinds.closed_form(roles, model.conv3.weight, 2.0)
    found = factor.whole().of_weight(model.conv3.weight)  # type: ignore[union-attr]
    assert found is not None
    assert error(found, expected) < 1e-7


@pytest.mark.parametrize("case", [kinds.lora, kinds.loha, kinds.lokr("whole", "whole"), kinds.dora(kinds.lora, 0)])
def test_the_scalar_of_old_lycoris_multiplies_the_delta(case: kinds.Make, tmp_path: Path) -> None:
    model = kinds.Small()
    tensors, _ = kinds.file_of({"linear": case}, model, 1)
    scalar = torch.tensor(0.3)
    save_file(tensors | {"lora_unet_linear.scalar": scalar}, tmp_path / "old.safetensors")
    first = next(role for role in ("lora_up.weight", "hada_w1_a", "lokr_w1") if f"lora_unet_linear.{role}" in tensors)
    tensors[f"lora_unet_linear.{first}"] *= scalar
    save_file(tensors, tmp_path / "new.safetensors")
    found: list[Any] = []
    for name in ("old", "new"):
        (change,) = read(model, tmp_path / f"{name}.safetensors").parts["unet"]
        whole = change.whole() if isinstance(change, LowRankDelta) else change
        found.append(whole.of_weight(model.linear.weight))
    assert error(found[0], found[1]) < 1e-6


def test_a_glora_of_the_first_lycoris_is_the_same_with_its_pairs_turned(tmp_path: Path) -> None:
    model = kinds.Small()
    found: list[Any] = []
    for module in ("linear", "conv3"):
        tensors, _ = kinds.file_of({module: kinds.glora}, model, 1)
        turned = {
            re.sub(r"(?<=\.[ab])[12]", lambda found: str(3 - int(found[0])), key): each for key, each in tensors.items()
        }
        for number, file in enumerate((tensors, turned)):
            save_file(file, tmp_path / f"{number}.safetensors")
            (change,) = read(model, tmp_path / f"{number}.safetensors").parts["unet"]
            assert not isinstance(change, LowRankDelta)
            found.append(change.of_weight(model.get_submodule(module).weight))  # type: ignore[arg-type]
        assert torch.equal(found[-1], found[-2])


def test_large_numbers_are_finite(tmp_path: Path) -> None:
    model = kinds.Small()
    tensors, _ = kinds.file_of({"linear": kinds.lora}, model, 1)
    tensors["lora_unet_linear.lora_up.weight"] = torch.full((18, 3), 60000.0, dtype=torch.float16)
    save_file(tensors, tmp_path / "x.safetensors")
    assert read(model, tmp_path / "x.safetensors").layout.tensor_counts() == {"unet": 3}


def test_whole_numbers_are_refused_while_planning_and_running(sd15_folder: Path, tmp_path: Path) -> None:
    unet = plain_pipeline(sd15_folder).unet
    (module,) = [name for name in modules_of(unet) if name.endswith("mid_block.attentions.0.proj_in")]
    tensors, _ = kinds.file_of({module: kinds.lora}, unet, 1)
    tensors = {key: tensor if key.endswith("alpha") else tensor.to(torch.int8) for key, tensor in tensors.items()}
    save_file(tensors, tmp_path / "x.safetensors")
    (tmp_path / "model").symlink_to(sd15_folder)
    (tmp_path / "recipe.yaml").write_text(HEAD + "adapters:\n  x: {kind: lora, model: x.safetensors}\n")
    for refused in (
        lambda: read(unet, tmp_path / "x.safetensors"),
        lambda: recipe_runner.compile_recipe(tmp_path / "recipe.yaml"),
    ):
        with pytest.raises(RecipeRunnerError, match=r"lora_down\.weight does not hold floating") as caught:
            refused()
        assert caught.value.problems[0].code == "E616"


def test_what_a_pickle_holds_beside_tensors_is_named(tmp_path: Path) -> None:
    model = kinds.Small()
    tensors, _ = kinds.file_of({"linear": kinds.lora}, model, 1)
    for held, said in (
        ({**tensors, "x.alpha": 3}, "x.pt is not a mapping of names to tensors: its 'x.alpha' is of type int"),
        (3, "x.pt holds a value of type int, not a mapping of names to tensors"),
        ({key: tensor.numpy() for key, tensor in tensors.items()}, "it holds a numpy._core.multiarray._reconstruct"),
    ):
        torch.save(held, tmp_path / "x.pt")
        with pytest.raises(RecipeRunnerError, match=re.escape(said)) as caught:
            read(model, tmp_path / "x.pt")
        assert caught.value.problems[0].code == "E607"
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "x.pt")
    assert read(model, tmp_path / "x.pt").layout.tensor_counts() == {"unet": len(tensors)}
