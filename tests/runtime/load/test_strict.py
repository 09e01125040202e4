"""What diffusers lets pass with a log line stops here, before the first denoising step."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from support.handles import base_model, file_source, handle, source
from support.plain import our_picture, plain_pipeline
from support.tiny import _vae, unet

from recipe_runner.plan.resolved_base import ResolvedComponent
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.live import LivePipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
STEPS = {"num_inference_steps": 2}


@pytest.fixture
def folder(sd15_folder: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(sd15_folder, tmp_path / "model")


def refused(folder: Path, **changes: Any) -> RecipeRunnerError:
    """The error that loading the base raises."""
    live = LivePipeline("cpu", "strict", 1)
    with pytest.raises(RecipeRunnerError) as caught:
        live.require(handle(base_model(folder, **changes)))
    assert live._base is None
    return caught.value


def change(path: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Rewrite a safetensors file."""
    tensors = load_file(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def without(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    """An edit that loses one tensor."""

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[name]

    return edit


@pytest.mark.parametrize("file", [UNET, VAE, TEXT])
def test_a_missing_parameter_is_named(file: str, folder: Path) -> None:
    gone = max(load_file(folder / file))
    change(folder / file, without(gone))
    (problem,) = refused(folder).problems
    part = file.split("/", maxsplit=1)[0]
    assert problem.code == "E501"
    assert problem.message == f"{part}: 1 parameters are missing in its weights file: {gone}"


@pytest.mark.parametrize("file", [UNET, VAE, TEXT])
def test_a_tensor_too_many_is_named(file: str, folder: Path) -> None:
    change(folder / file, lambda tensors: tensors.update({"extra.weight": torch.zeros(2)}))
    (problem,) = refused(folder).problems
    assert (problem.code, problem.message.endswith("do not belong to a parameter: extra.weight")) == ("E502", True)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (UNET, "conv_in.weight"),
        (VAE, "decoder.conv_in.weight"),
        (TEXT, "final_layer_norm.weight"),
    ],
)
def test_another_shape_is_refused(file: str, name: str, folder: Path) -> None:
    real = next(key for key in load_file(folder / file) if key.endswith(name))
    change(folder / file, lambda tensors: tensors.update({real: torch.zeros(3, 3)}))
    assert refused(folder).problems[0].code == "E503"


@pytest.mark.parametrize("file", [UNET, TEXT])
def test_a_truncated_file_is_refused(file: str, folder: Path) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    assert refused(folder).problems[0].code == "E513"


@pytest.mark.parametrize(
    ("folder_name", "pipeline"),
    [
        ("sd15_folder", "StableDiffusionXLPipeline"),
        ("sdxl_folder", "StableDiffusionPipeline"),
        ("flux_folder", "StableDiffusion3Pipeline"),
    ],
)
def test_a_pipeline_class_that_does_not_match_the_folder(
    folder_name: str, pipeline: str, request: pytest.FixtureRequest
) -> None:
    error = refused(request.getfixturevalue(folder_name), pipeline=pipeline)
    assert error.problems[0].code in ("E505", "E506")
    assert pipeline in error.problems[0].message


def test_a_class_that_diffusers_does_not_have(sd15_folder: Path) -> None:
    (problem,) = refused(sd15_folder, pipeline="StableDifusionPipeline").problems
    assert (problem.code, problem.hint) == ("E514", "Did you mean `StableDiffusionPipeline`?")


def test_a_variant_that_a_component_lacks(folder: Path) -> None:
    for file in (UNET, VAE):
        (folder / file).rename((folder / file).with_suffix(".fp16.safetensors"))
    (problem,) = refused(folder, variant="fp16").problems
    assert problem.message == "text_encoder: no weights of variant fp16 in its folder"
    (folder / TEXT).rename((folder / TEXT).with_suffix(".fp16.safetensors"))
    live = LivePipeline("cpu", "strict", 1)
    assert live.require(handle(base_model(folder, variant="fp16"))).unet.conv_in.weight.dtype == torch.float32
    assert refused(folder).problems[0].code == "E513"


def test_pickles_are_read_only_where_allowed(folder: Path) -> None:
    tensors = load_file(folder / UNET)
    torch.save(tensors, folder / "unet/diffusion_pytorch_model.bin")
    (folder / UNET).unlink()
    assert refused(folder).problems[0].code == "E406"
    loaded = LivePipeline("cpu", "strict", 1).require(handle(base_model(folder, allow_pickle=True)))
    assert all(torch.equal(loaded.unet.state_dict()[name], tensor) for name, tensor in tensors.items())


def test_sharded_weights_load_whole_and_a_lost_shard_is_an_error(folder: Path) -> None:
    whole = load_file(folder / UNET)
    plain_pipeline(folder).unet.save_pretrained(folder / "unet", max_shard_size="100KB")
    (folder / UNET).unlink(missing_ok=True)
    shards = sorted((folder / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    loaded = LivePipeline("cpu", "strict", 1).require(handle(base_model(folder)))
    assert all(torch.equal(loaded.unet.state_dict()[name], tensor) for name, tensor in whole.items())
    gone = min(load_file(shards[0]))
    change(shards[0], without(gone))
    assert refused(folder).problems[0].code == "E501"
    change(shards[0], lambda tensors: tensors.update({gone: whole[gone], "extra.weight": torch.zeros(1)}))
    assert refused(folder).problems[0].code == "E502"
    shards[0].unlink()
    assert refused(folder).problems[0].code == "E416"


def test_weights_overwritten_in_place_stop_the_image(folder: Path) -> None:
    live, wanted = LivePipeline("cpu", "strict", 1), handle(base_model(folder))
    our_picture(live, wanted, "a", 0, **STEPS)
    content = (folder / UNET).read_bytes()
    with (folder / UNET).open("r+b") as file:
        file.seek(len(content) - 8)
        file.write(bytes(8))
    with pytest.raises(RecipeRunnerError) as caught:
        our_picture(live, wanted, "a", 0, **STEPS)
    assert caught.value.problems[0].code == "E508"
    assert "unet/diffusion_pytorch_model.safetensors" in caught.value.problems[0].message


def test_a_file_that_is_not_the_one_that_was_hashed(folder: Path) -> None:
    base = base_model(folder)
    stamp = (folder / UNET).stat()
    change(folder / UNET, lambda tensors: tensors.update({"conv_in.weight": tensors["conv_in.weight"] + 1}))
    os.utime(folder / UNET, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu", "strict", 1).require(handle(base))
    assert caught.value.problems[0].code == "E508"


def vae_source(tmp_path: Path, vae: AutoencoderKL) -> ResolvedComponent:
    """A VAE in a folder of its own."""
    vae.save_pretrained(tmp_path / "vae")
    return ResolvedComponent(source=source(tmp_path / "vae"))


def test_a_vae_with_other_latent_channels_is_refused_before_sampling(sd15_folder: Path, tmp_path: Path) -> None:
    (problem,) = refused(sd15_folder, components={"vae": vae_source(tmp_path, _vae(8))}).problems
    assert (problem.code, problem.message) == (
        "E507",
        "vae and unet do not fit: 8 latent channels from vae, but in_channels 4 in unet",
    )


def test_a_unet_of_another_width_is_refused(sd15_folder: Path, tmp_path: Path) -> None:
    unet(48).save_pretrained(tmp_path / "unet")
    (problem,) = refused(sd15_folder, components={"unet": ResolvedComponent(source=source(tmp_path / "unet"))}).problems
    assert (problem.code, "cross_attention_dim 48" in problem.message) == ("E507", True)


def test_a_component_of_another_type_is_refused(sd15_folder: Path) -> None:
    part = ResolvedComponent(source=source(sd15_folder), subfolder="text_encoder")
    (problem,) = refused(sd15_folder, components={"vae": part}).problems
    assert (problem.code, problem.message) == (
        "E506",
        "vae: StableDiffusionPipeline needs a AutoencoderKL, but this is a CLIPTextModel",
    )


@pytest.mark.parametrize("name", ["unet", "vea"])
def test_what_cannot_be_left_out_or_does_not_exist(name: str, sd15_folder: Path) -> None:
    assert refused(sd15_folder, components={name: None}).problems[0].code == "E512"


def test_a_replaced_vae_is_the_one_that_decodes(sd15_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    part = vae_source(tmp_path, _vae())
    pipeline = plain_pipeline(sd15_folder, vae=AutoencoderKL.from_pretrained(tmp_path / "vae"))
    expected = pipeline("a", generator=torch.Generator().manual_seed(0), output_type="np", **STEPS).images[0]
    live = LivePipeline("cpu", "strict", 1)
    base = base_model(sd15_folder, components={"vae": part})
    assert (our_picture(live, handle(base), "a", 0, **STEPS) == (expected * 255).round()).all()
    assert (our_picture(live, handle(base_model(sd15_folder)), "a", 0, **STEPS) != (expected * 255).round()).any()


def test_a_component_may_be_one_file_with_the_base_s_configuration(sd15_folder: Path, tmp_path: Path) -> None:
    file = shutil.copy(sd15_folder / VAE, tmp_path / "my-vae.safetensors")
    part = ResolvedComponent(source=file_source(tmp_path / "my-vae.safetensors"), weight_name="my-vae.safetensors")
    loaded = LivePipeline("cpu", "strict", 1).require(handle(base_model(sd15_folder, components={"vae": part})))
    assert all(torch.equal(loaded.vae.state_dict()[name], tensor) for name, tensor in load_file(file).items())


def test_a_vae_may_have_a_data_type_of_its_own(sd15_folder: Path) -> None:
    part = ResolvedComponent(source=source(sd15_folder), subfolder="vae", dtype="float32")
    live = LivePipeline("cpu", "strict", 1)
    wanted = handle(base_model(sd15_folder, dtype="bfloat16", components={"vae": part}))
    pipeline = live.require(wanted)
    assert (pipeline.unet.dtype, pipeline.vae.dtype) == (torch.bfloat16, torch.float32)
    assert our_picture(live, wanted, "a", 0, **STEPS).std() > 5


def test_a_null_safety_checker_is_left_out(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert refused(folder).problems[0].code in ("E415", "E513")
    pipeline = LivePipeline("cpu", "strict", 1).require(handle(base_model(folder, components={"safety_checker": None})))
    assert pipeline.safety_checker is None
