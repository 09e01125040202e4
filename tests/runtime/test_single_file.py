"""One-file checkpoints: taken apart offline, every parameter from the file, every tensor of the file accounted for."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from support.handles import file_source, handle, source
from support.ldm import image_tensors, open_clip_tensors, sd1_checkpoint
from support.plain import our_picture, plain_picture, plain_pipeline

from recipe_runner.errors import RecipeRunnerError
from recipe_runner.handle import BaseModel, ComponentModel
from recipe_runner.runtime.conversion import component_tensors
from recipe_runner.runtime.environment import quiet
from recipe_runner.runtime.live import LivePipeline

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


def base(path: Path, config: Path | None, **changes: Any) -> BaseModel:
    """The checkpoint at `path`."""
    settings = {
        "key": "base",
        "source": file_source(path),
        "weight_name": path.name,
        "config": source(config) if config else None,
    }
    return BaseModel(**{**settings, "pipeline": "StableDiffusionPipeline", **changes})


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
    part = ComponentModel(source=source(sd15_folder), subfolder="vae")
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
