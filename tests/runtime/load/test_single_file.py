"""One-file checkpoints: taken apart offline, every parameter from the file, every tensor of the file accounted for."""

from __future__ import annotations

import json
import os
import shutil
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file
from support.handles import file_source, handle, source
from support.ldm import image_tensors, open_clip_tensors, sd1_checkpoint
from support.plain import our_picture, plain_picture, plain_pipeline

import recipe_runner
from recipe_runner.plan.resolved_base import ResolvedBase, ResolvedComponent
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.load.conversion import component_tensors

if TYPE_CHECKING:
    from pathlib import Path

PARTS = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module")
def config(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration and tokenizer, without weights."""
    folder = tmp_path_factory.mktemp("config") / "sd1"
    return shutil.copytree(sd15_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))


@pytest.fixture(scope="module")
def tensors(sd15_folder: Path) -> dict[str, torch.Tensor]:
    """The tiny pipeline as the original training code would have saved it."""
    return sd1_checkpoint(plain_pipeline(sd15_folder))


def base(path: Path, config: Path | None, **changes: Any) -> ResolvedBase:
    """The checkpoint at `path`."""
    settings = {
        "source": file_source(path),
        "weight_name": path.name,
        "config": source(config) if config else None,
    }
    return ResolvedBase(**{**settings, "pipeline": "StableDiffusionPipeline", **changes})


def refused(path: Path, config: Path, **changes: Any) -> RecipeRunnerError:
    """The error that loading raises."""
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu", "strict", 1).require(handle(base(path, config, **changes)))
    return caught.value


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_equals_the_folder_and_diffusers_own_loader(
    dtype: str, sd15_folder: Path, config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    live, wanted = LivePipeline("cpu", "strict", 1), handle(base(path, config, dtype=dtype))
    loaded = live.require(wanted)
    with quiet():
        other = StableDiffusionPipeline.from_single_file(path, config=str(config), dtype=getattr(torch, dtype))
    other.set_progress_bar_config(disable=True)
    for theirs in (plain_pipeline(sd15_folder, dtype=getattr(torch, dtype)), other):
        for part in PARTS:
            state = getattr(theirs, part).state_dict()
            mine = getattr(loaded, part).state_dict()
            assert list(mine) == list(state)
            assert all(torch.equal(mine[name], value) for name, value in state.items())
        picture = our_picture(live, wanted, "a bear", 1, num_inference_steps=2)
        assert (picture == plain_picture(theirs, "a bear", 1, num_inference_steps=2)).all()


@pytest.mark.parametrize(
    "name",
    [
        "cond_stage_model.transformer.text_model.final_layer_norm.bias",
        "model.diffusion_model.out.2.bias",
        "first_stage_model.decoder.conv_out.bias",
    ],
)
def test_a_missing_parameter_is_an_error(
    name: str, config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, tmp_path / "m.safetensors")
    assert refused(tmp_path / "m.safetensors", config).problems[0].code in ("E501", "E516")


def test_a_tensor_of_no_component_is_an_error(config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    stray = {"model.diffusion_model.input_blocks.9.0.in_layers.0.weight": torch.zeros(2), "control.x": torch.zeros(1)}
    save_file({**tensors, **stray}, tmp_path / "m.safetensors")
    (problem,) = refused(tmp_path / "m.safetensors", config).problems
    assert problem.code in ("E502", "E516")


def test_training_leftovers_are_no_error(config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    extra = {
        "model_ema.decay": torch.zeros(1),
        "alphas_cumprod": torch.zeros(4),
        "sqrt_one_minus_alphas_cumprod": torch.zeros(4),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(20)[None],
    }
    save_file({**tensors, **extra}, tmp_path / "m.safetensors")
    LivePipeline("cpu", "strict", 1).require(handle(base(tmp_path / "m.safetensors", config)))


def test_another_shape_is_an_error(config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file({**tensors, "model.diffusion_model.out.2.bias": torch.zeros(7)}, tmp_path / "m.safetensors")
    assert refused(tmp_path / "m.safetensors", config).problems[0].code == "E503"


def test_parameters_as_whole_numbers_are_an_error(
    config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    name = "model.diffusion_model.out.2.weight"
    save_file({**tensors, name: tensors[name].to(torch.int8)}, tmp_path / "m.safetensors")
    (problem,) = refused(tmp_path / "m.safetensors", config).problems
    assert (problem.code, "conv_out.weight" in problem.message, "quantised" in problem.hint) == ("E513", True, True)


def test_a_ckpt_needs_leave_and_is_read_with_weights_only(
    config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": tensors, "global_step": 3}, tmp_path / "m.ckpt")
    assert refused(tmp_path / "m.ckpt", config).problems[0].code == "E406"
    LivePipeline("cpu", "strict", 1).require(handle(base(tmp_path / "m.ckpt", config, allow_pickle=True)))


def test_without_a_configuration_it_is_refused_offline(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(RecipeRunnerError):
        LivePipeline("cpu", "strict", 1).require(handle(base(tmp_path / "m.safetensors", None)))


def test_a_replaced_component_s_own_tensors_are_not_missed(
    sd15_folder: Path, config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "m.safetensors")
    part = ResolvedComponent(source=source(sd15_folder), subfolder="vae")
    LivePipeline("cpu", "strict", 1).require(handle(base(tmp_path / "m.safetensors", config, components={"vae": part})))


@pytest.mark.parametrize(
    ("part", "prefix"),
    [
        ("text_encoder", "cond_stage_model.model."),
        ("text_encoder_2", "conditioner.embedders.1.model."),
        ("unet", ""),
        ("vae", ""),
    ],
)
def test_sdxl_s_and_open_clip_s_names_give_back_each_value(part: str, prefix: str, sdxl_folder: Path) -> None:
    pipeline = plain_pipeline(sdxl_folder)
    model = getattr(pipeline, part)
    checkpoint = open_clip_tensors(model, prefix) if prefix else image_tensors(pipeline)
    found = component_tensors(part, model, sdxl_folder / part, checkpoint)
    state = model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    # Other components' tensors may stand beside them in the file.
    assert prefix == "" or found.keys() == state.keys()


def as_first_merges(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.replace("transformer.text_model.", "transformer."): tensor for key, tensor in tensors.items()}


def as_diffusers_script(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    projection = "conditioner.embedders.1.model.text_projection"
    return {key: value for key, value in tensors.items() if key != projection} | {
        f"{projection}.weight": tensors[projection].T.contiguous()
    }


@pytest.mark.parametrize(
    ("save", "family"), [(as_first_merges, "sd15"), (as_diffusers_script, "sdxl")], ids=["first merges", "script"]
)
def test_the_names_of_other_programs_give_back_each_value(
    save: Any, family: str, sd15_folder: Path, sdxl_folder: Path, tmp_path: Path
) -> None:
    folder = sd15_folder if family == "sd15" else sdxl_folder
    pipeline = plain_pipeline(folder)
    tensors = sd1_checkpoint(pipeline)
    if family == "sdxl":
        tensors = {k.replace("cond_stage_model.", "conditioner.embedders.0."): v for k, v in tensors.items()}
        tensors |= open_clip_tensors(pipeline.text_encoder_2, "conditioner.embedders.1.model.")
    changed = save(tensors)
    assert changed.keys() != tensors.keys()
    save_file(changed, tmp_path / "m.safetensors")
    settings = shutil.copytree(folder, tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    wanted = base(tmp_path / "m.safetensors", settings, pipeline=type(pipeline).__name__)
    loaded = LivePipeline("cpu", "strict", 1).require(handle(wanted))
    for part in PARTS if family == "sd15" else (*PARTS, "text_encoder_2"):
        state = getattr(pipeline, part).state_dict()
        assert all(torch.equal(getattr(loaded, part).state_dict()[name], value) for name, value in state.items())


def test_a_file_that_says_it_predicts_v_is_sampled_so(
    sd15_folder: Path, config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file({**tensors, "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, tmp_path / "v.safetensors")
    (tmp_path / "config").symlink_to(config)
    text = "base: {model: v.safetensors, config: config}\nprompts: [{prompt: a bear}]\nseeds: [1]\n"
    (tmp_path / "r.yaml").write_text(f"recipe: 1\nname: v\n{text}sampling: {{num_inference_steps: 2}}\n")
    made = recipe_runner.run_recipe(tmp_path / "r.yaml", runs=tmp_path / "runs")
    plain = plain_pipeline(sd15_folder)
    stated = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    plain.scheduler = type(plain.scheduler).from_config(plain.scheduler.config, **stated)
    picture = np.asarray(Image.open(next(made.folder.glob("images/*.png"))).convert("RGB"))
    assert np.array_equal(picture, plain_picture(plain, "a bear", 1, num_inference_steps=2))


def test_a_latent_consistency_model_gives_back_its_guidance(
    config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    settings = shutil.copytree(config, tmp_path / "config")
    described = json.loads((settings / "unet/config.json").read_text())
    (settings / "unet/config.json").write_text(json.dumps({**described, "time_cond_proj_dim": 16}))
    guidance = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    save_file({**tensors, "model.diffusion_model.time_embed.cond_proj.weight": guidance}, tmp_path / "lcm.safetensors")
    loaded = LivePipeline("cpu", "strict", 1).require(handle(base(tmp_path / "lcm.safetensors", settings)))
    assert torch.equal(loaded.unet.time_embedding.cond_proj.weight, guidance)


class ModelCheckpoint:
    """As Lightning's own, whose name checkpoints of Stable Diffusion 1 hold."""


def test_what_a_training_framework_left_is_not_made_and_not_missed(
    config: Path, tensors: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = ModuleType(name)
    monkeypatch.setattr(ModelCheckpoint, "__module__", name)
    module.ModelCheckpoint = ModelCheckpoint  # type: ignore[attr-defined]
    with monkeypatch.context() as installed:
        for parent in ("pytorch_lightning", "pytorch_lightning.callbacks"):
            installed.setitem(sys.modules, parent, ModuleType(parent))
        installed.setitem(sys.modules, name, module)
        callback = ModelCheckpoint()
        vars(callback)["best"] = np.float64(0.5)
        beside = {"callbacks": {ModelCheckpoint: {"best_model_score": np.float64(0.5), "self": callback}}}
        torch.save({"epoch": 3, "state_dict": tensors, **beside}, tmp_path / "m.ckpt")
    assert name not in sys.modules
    wanted = base(tmp_path / "m.ckpt", config, allow_pickle=True)
    loaded = LivePipeline("cpu", "strict", 1).require(handle(wanted))
    key = "cond_stage_model.transformer.text_model.final_layer_norm.bias"
    assert torch.equal(loaded.text_encoder.state_dict()["final_layer_norm.bias"], tensors[key])
    assert name not in sys.modules
    torch.save({"state_dict": tensors, "run": os.system}, tmp_path / "evil.ckpt")
    assert refused(tmp_path / "evil.ckpt", config, allow_pickle=True).problems[0].code == "E607"
    (tmp_path / "r.yaml").write_text(
        f"recipe: 1\nname: v\nbase: {{model: evil.ckpt, config: {config}}}\nprompts: [{{prompt: a bear}}]\n"
        "runtime: {allow_pickle: true}\n"
    )
    with pytest.raises(RecipeRunnerError) as caught:
        recipe_runner.compile_recipe(tmp_path / "r.yaml")
    assert caught.value.problems[0].code == "E607"
