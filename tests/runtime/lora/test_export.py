"""An exported adapter does in plain diffusers what it does in its recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import lycoris as kinds
from support.command import call
from support.handles import base_model, handle, lora_model
from support.loras import diffusers_file, factors, kohya_file
from support.plain import our_picture, plain_picture, plain_pipeline

from recipe_runner.plan.resolved import ResolvedMerge
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.lora.deltas import WeightDelta
from recipe_runner.runtime.lora.export import export_adapter
from recipe_runner.runtime.lora.file import translate
from recipe_runner.runtime.lora.low_rank import NoLowRank, low_rank

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.resolved import ResolvedLora

STEPS = {"num_inference_steps": 2}


def exported(adapter: ResolvedLora | ResolvedMerge, folder: Path, path: Path, component: str | None = None) -> None:
    """Write `adapter`, laid out on the base in `folder`, to `path`."""
    done = export_adapter(adapter, base_model(folder), None, allow_pickle=False, component=component)
    path.write_bytes(done.content)
    assert sum(done.tensors.values()) == len(load_file(path))


def test_a_kohya_file_with_mixed_alphas_goes_over_exactly(sd15_folder: Path, tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    made = factors(pipeline, 1)
    # Ratios of alpha and rank that are powers of two: baked in, they change no bit.
    kohya_file(tmp_path / "k.safetensors", made, {name: (1.0, 4.0, 8.0)[n % 3] for n, name in enumerate(made)})
    adapter = lora_model(tmp_path / "k.safetensors")
    exported(adapter, sd15_folder, tmp_path / "x.safetensors")
    with quiet():
        pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors", adapter_name="x")
        pipeline.set_adapters(["x"], [0.6])
    expected = our_picture(LivePipeline("cpu"), handle(base_model(sd15_folder), adapter, style=0.6), "a", 1, **STEPS)
    assert np.array_equal(plain_picture(pipeline, "a", 1, **STEPS), expected)


def test_one_component_is_written_as_save_lora_adapter_writes_it(sd15_folder: Path, tmp_path: Path) -> None:
    pipeline, other = plain_pipeline(sd15_folder), plain_pipeline(sd15_folder)
    diffusers_file(tmp_path / "a.safetensors", factors(pipeline, 1))
    exported(lora_model(tmp_path / "a.safetensors"), sd15_folder, tmp_path / "x.safetensors", "unet")
    with quiet():
        other.load_lora_weights(tmp_path, weight_name="a.safetensors", adapter_name="a")
        other.unet.save_lora_adapter(tmp_path / "theirs", adapter_name="a")
        pipeline.unet.load_lora_adapter(tmp_path, weight_name="x.safetensors", prefix=None)
    theirs = load_file(tmp_path / "theirs" / "pytorch_lora_weights.safetensors")
    mine = load_file(tmp_path / "x.safetensors")
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    wanted = handle(base_model(sd15_folder), lora_model(tmp_path / "a.safetensors", target="unet"))
    expected = our_picture(LivePipeline("cpu"), wanted, "a", 1, **STEPS)
    assert np.array_equal(plain_picture(pipeline, "a", 1, **STEPS), expected)


def test_a_merge_goes_over_exactly(sd15_folder: Path, tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    for number, name in enumerate("ab"):
        diffusers_file(tmp_path / f"{name}.safetensors", factors(pipeline, number, rank=2 + number))
    members = tuple(lora_model(tmp_path / f"{name}.safetensors", name) for name in "ab")
    adapter = ResolvedMerge(name="m", members=members, weights=(0.5, 1.5), combination_type="svd")
    exported(adapter, sd15_folder, tmp_path / "x.safetensors")
    with quiet():
        pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors")
    expected = our_picture(LivePipeline("cpu"), handle(base_model(sd15_folder), adapter), "a", 1, **STEPS)
    assert np.array_equal(plain_picture(pipeline, "a", 1, **STEPS), expected)


class Wide(torch.nn.Module):
    """Modules large enough for a low rank to be low."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(48, 40)
        self.long = torch.nn.Linear(96, 40)
        self.conv = torch.nn.Conv2d(16, 20, 3)


@pytest.mark.parametrize(
    ("make", "rank"),
    [
        (kinds.loha, {"linear": 9, "conv": 9}),
        (kinds.loha_tucker, {"conv": 9}),
        (kinds.lokr("whole", "factors"), {"linear": 6, "conv": 6}),
        (kinds.lokr("factors", "factors"), {"linear": 6, "conv": 6}),
        (kinds.lokr("whole", "tucker"), {"conv": 6}),
    ],
)
def test_low_rank_forms_are_the_differences_themselves(make: kinds.Make, rank: dict[str, int], tmp_path: Path) -> None:
    model = Wide()
    shapes = {name: tuple(model.get_submodule(name).weight.shape) for name in ("linear", "conv")}  # type: ignore[arg-type]
    tensors, made = kinds.file_of(dict.fromkeys(rank, make), model, 1)
    save_file(tensors, tmp_path / "x.safetensors")
    changes = translate(lora_model(tmp_path / "x.safetensors"), {"unet": shapes}, allow_pickle=False).parts["unet"]
    for change in changes:
        factor = low_rank(change, shapes[change.module])
        expected = kinds.closed_form(made[change.module], model.get_submodule(change.module).weight, 2.0)  # type: ignore[arg-type]
        found = factor.alpha / factor.rank * (factor.up.flatten(1) @ factor.down.flatten(1)).reshape(expected.shape)
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
        assert factor.rank == rank[change.module]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (kinds.full, "it changes a bias"),
        (kinds.dora(kinds.lora, 0), "it is a DoRA, whose difference depends on the base's weight"),
        (kinds.lokr("whole", "whole"), "it is a LoKr whose low-rank form would have rank 48, but the module has 40"),
    ],
)
def test_what_has_no_low_rank_form_says_why(make: kinds.Make, reason: str) -> None:
    _, made = kinds.file_of({"long": make}, Wide(), 1)
    roles: Any = made["long"]
    kind: Any = "full" if "diff" in roles else "lora" if "dora_scale" in roles else "lokr"
    change = WeightDelta("long", kind, roles, 1.0, dora_axis=0 if "dora_scale" in roles else None)
    with pytest.raises(NoLowRank, match=reason):
        low_rank(change, (40, 96))


def test_the_command(sd15_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diffusers_file(tmp_path / "a.safetensors", factors(plain_pipeline(sd15_folder), 1))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"recipe: 1\nname: x\nbase: {{model: {sd15_folder}}}\nprompts: [{{prompt: a}}]\n"
        "adapters: {style: {kind: lora, model: a.safetensors}}\n"
    )
    output = tmp_path / "out.safetensors"
    done = call(capsys, "export-adapter", str(recipe), "style", "-o", str(output))
    assert (done.status, done.out) == (0, f"{output}\n")
    assert all(
        torch.equal(tensor, load_file(output)[key]) for key, tensor in load_file(tmp_path / "a.safetensors").items()
    )
    assert "E902" in call(capsys, "export-adapter", str(recipe), "style", "-o", str(output)).err
    assert "Did you mean `style`?" in call(capsys, "export-adapter", str(recipe), "stlye").err
    words = ("--component", "text_encoder_2", "-o", str(tmp_path / "y.safetensors"))
    answer = call(capsys, "export-adapter", str(recipe), "style", *words)
    assert answer.status == 1
    assert "adapter style has nothing for text_encoder_2" in answer.err
    words = ("--set", 'matrix={"adapters.style.alpha": [1.0, 2.0]}', "-o", str(tmp_path / "y.safetensors"))
    answer = call(capsys, "export-adapter", str(recipe), "style", *words)
    assert "have 2 different adapters called `style`" in answer.err


def test_learned_tokens_are_not_left_out_silently(sd15_folder: Path, tmp_path: Path) -> None:
    tensors = diffusers_file(tmp_path / "a.safetensors", factors(plain_pipeline(sd15_folder), 1))
    save_file({**tensors, "bundle_emb.<s1>.emb_params": torch.zeros(1, 32)}, tmp_path / "a.safetensors")
    with pytest.raises(RecipeRunnerError, match="has learned tokens") as caught:
        exported(lora_model(tmp_path / "a.safetensors"), sd15_folder, tmp_path / "x.safetensors")
    assert caught.value.problems[0].code == "E635"
    exported(lora_model(tmp_path / "a.safetensors"), sd15_folder, tmp_path / "x.safetensors", "unet")
