"""Single-file checkpoints are told by names and shapes, and find their configuration in the package."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from support.module_tables import SHARED
from support.safetensors_bytes import whole
from support.sparse import write_sparse
from transformers import CLIPTextConfig, CLIPTokenizer

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.sources import bundled
from recipe_runner.sources.bundled import FAMILIES, bundled_config, clip_vocabulary, write_config
from recipe_runner.sources.find import find_base
from recipe_runner.sources.source import Address
from recipe_runner.weights.checkpoint.checkpoint import Checkpoint, identify_checkpoint
from recipe_runner.weights.checkpoint.original_layout import original_tensors
from recipe_runner.weights.families import checkpoint_families as families
from recipe_runner.weights.families.denoiser_families import DENOISER_FAMILIES
from recipe_runner.weights.files.digests import unhashed
from recipe_runner.weights.modules import Shape

SD15 = SHARED / "sd15"
UNET = "model.diffusion_model."
CROSS = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
CONV_IN = f"{UNET}input_blocks.0.0.weight"
VAE = {"first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3)}


def ldm(width: int, channels: int = 4, **more: Shape) -> dict[str, Shape]:
    return {CROSS: (320, width), CONV_IN: (320, channels, 3, 3), **VAE, **more}


SD1 = ldm(768) | {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (8, 4)}
SDXL: dict[str, Shape] = {
    f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
    CONV_IN: (320, 4, 3, 3),
    **VAE,
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,),
    "conditioner.embedders.1.model.ln_final.weight": (1280,),
}
FLUX: dict[str, Shape] = {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (8, 4)}
SD3: dict[str, Shape] = {
    f"{UNET}joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,),
    "text_encoders.t5xxl.transformer.shared.weight": (8, 4),
}


def test_families_are_called_as_everywhere_else() -> None:
    names = [family.name for family in DENOISER_FAMILIES]
    assert [family.name for family in families.FAMILIES if family.name not in names] == []


@pytest.mark.parametrize(
    ("shapes", "family", "pipeline", "config", "missing"),
    [
        (SD1, "sd1", "StableDiffusionPipeline", "sd1", ()),
        (ldm(1024), "sd2", "StableDiffusionPipeline", "sd2", ("text_encoder",)),
        (SDXL, "sdxl", "StableDiffusionXLPipeline", "sdxl", ()),
        (SD3, "sd3", "StableDiffusion3Pipeline", None, ("vae", "text_encoder", "text_encoder_2")),
        (FLUX, "flux1", "FluxPipeline", None, ("vae", "text_encoder", "text_encoder_2")),
    ],
)
def test_families(
    shapes: dict[str, Shape], family: str, pipeline: str, config: str | None, missing: tuple[str, ...]
) -> None:
    found = identify_checkpoint(shapes)
    assert isinstance(found, Checkpoint)
    assert (found.family, found.pipeline, found.config, found.missing) == (family, pipeline, config, missing)
    assert found.foreign == ()


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (ldm(768, 9), "it is an inpainting model (9 input channels), which needs an image and a mask"),
        (ldm(768, 3), "its UNet has 3 input channels, not 4"),
        (ldm(768, 8), "it is an instruct-pix2pix model (8 input channels), which needs an image"),
        (ldm(1280), "it is the SDXL refiner, which needs an image to start from"),
        ({f"{UNET}head.modulation": (1, 2, 8)}, "it is a Wan video model"),
        (
            {"unet.a.lora_A.weight": (4, 8)},
            "it is a LoRA or LyCORIS file: name it under `adapters`",
        ),
        ({"emb_params": (8, 768)}, "it is a textual inversion: name it under `adapters`"),
        ({"ip_adapter.1.to_k_ip.weight": (8, 8)}, "it is an IP-Adapter: name it under `adapters`"),
        ({"decoder.conv_in.weight": (8, 4, 3, 3)}, "it is a VAE alone: name it under `base.components.vae`"),
        (
            {"first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3)},
            "it is a VAE alone: name it under `base.components.vae`",
        ),
        ({"down_blocks.0.x.weight": (8,)}, "it is a UNet alone: name it under `base.components.unet`"),
        ({"linear.weight": (8, 8)}, "its architecture is unknown (the first tensor is 'linear.weight')"),
        ({}, "it is empty"),
    ],
)
def test_why_a_file_is_no_base(shapes: dict[str, Shape], reason: str) -> None:
    assert identify_checkpoint(shapes) == reason


def test_averages_buffers_markers_and_strangers_are_told_apart() -> None:
    found = identify_checkpoint(
        SDXL | {"model_ema.diffusion_modelout2bias": (4,), "betas": (1000,), "v_pred": (), "ztsnr": (), "what": (1,)}
    )
    assert isinstance(found, Checkpoint)
    assert found.ema == ("model_ema.diffusion_modelout2bias",)
    assert found.benign == ("betas", "v_pred", "ztsnr")
    assert found.foreign == ("what",)
    assert found.scheduler == {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}


def test_a_single_file_brings_the_package_s_configuration(tmp_path: Path) -> None:
    write_sparse(tmp_path / "dog.safetensors", original_tensors("sd1"))
    with unhashed():
        found, own = find_base(Address("dog.safetensors"), folder=tmp_path), bundled_config("sd1")
    assert (found.weight_name, found.pipeline) == ("dog.safetensors", "StableDiffusionPipeline")
    assert sorted(found.components) == ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]
    assert found.config is not None
    assert found.config.digest == own.digest
    assert found.checkpoint is not None
    assert found.checkpoint.family == "sd1"


@pytest.mark.parametrize("framework", [False, True], ids=["bare", "with training state"])
def test_a_pickled_checkpoint_is_told_without_unpickling_it(framework: bool, tmp_path: Path) -> None:  # noqa: FBT001
    # One number stands for all of a tensor: the file is small, its shapes are true.
    tensors = {name: torch.zeros((), dtype=torch.float16).expand(s) for name, s in original_tensors("sd1").items()}
    beside = {"epoch": 3, "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}]}
    torch.save({"state_dict": tensors, **beside} if framework else tensors, tmp_path / "dog.ckpt")
    found = find_base(Address("dog.ckpt"), folder=tmp_path, allow_pickle=True)
    assert (found.weight_name, found.pipeline) == ("dog.ckpt", "StableDiffusionPipeline")
    assert found.config is not None
    assert found.config.digest == bundled_config("sd1").digest
    with pytest.raises(RecipeRunnerError) as caught:
        find_base(Address("dog.ckpt"), folder=tmp_path)
    assert caught.value.problems[0].code == "E406"


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (FLUX, "E419 x.safetensors is a flux1 checkpoint, and this package has no configuration for it"),
        (ldm(768), "E416 x.safetensors holds no text_encoder"),
        (
            {"emb_params": (8, 768)},
            "E417 x.safetensors cannot be used as a base model: it is a textual inversion: name it under `adapters`",
        ),
    ],
)
def test_a_single_file_that_will_not_do(shapes: dict[str, Shape], said: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(whole({name: shape[:1] + shape[1:] for name, shape in shapes.items()}))
    with pytest.raises(RecipeRunnerError) as caught:
        find_base(Address("x.safetensors"), folder=tmp_path)
    (problem,) = caught.value.problems
    assert f"{problem.code} {problem.message}".startswith(said)


def test_a_component_that_the_recipe_replaces_may_be_missing(tmp_path: Path) -> None:
    kept = {name: shape for name, shape in original_tensors("sd1").items() if not name.startswith("cond_stage_model")}
    write_sparse(tmp_path / "x.safetensors", kept)
    with unhashed():
        found = find_base(Address("x.safetensors"), folder=tmp_path, left_out=["text_encoder"])
    assert found.pipeline == "StableDiffusionPipeline"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_written_configuration_is_one_that_the_libraries_read(family: str, tmp_path: Path) -> None:
    folder = write_config(family, tmp_path / "config")
    index = read(folder / "model_index.json")
    for name, entry in index.items():
        if isinstance(entry, list) and entry != [None, None]:
            assert (folder / name).is_dir()
    for name, cls in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        config, unused = cls.load_config(folder / name, return_unused_kwargs=True)
        assert config["_class_name"] == cls.__name__
        assert unused == {}
    assert CLIPTextConfig.from_pretrained(folder / "text_encoder").vocab_size == len(clip_vocabulary())


def test_the_bundled_folder_is_the_same_every_time() -> None:
    first, second = bundled_config("sdxl"), bundled_config("sdxl")
    assert first.root == second.root
    assert first.digest == second.digest
    assert "tokenizer_2/vocab.json" in [file.name for file in first.files]


def test_a_cache_that_cannot_be_written_leaves_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").write_bytes(b"")
    monkeypatch.setattr(bundled, "cache_folder", lambda: tmp_path / "blocked")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert (bundled_config("sd1").root / "tokenizer" / "merges.txt").is_file()


@pytest.mark.skipif(not SD15.is_dir(), reason="the configuration in ../shared/data/sd15 is not here")
def test_the_tokenizer_is_that_of_stable_diffusion(tmp_path: Path) -> None:
    assert clip_vocabulary() == read(SD15 / "tokenizer" / "vocab.json")
    folder = write_config("sd1", tmp_path / "config") / "tokenizer"
    theirs = (SD15 / "tokenizer" / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert (folder / "merges.txt").read_text(encoding="utf-8").splitlines() == theirs
    ours = CLIPTokenizer.from_pretrained(folder)
    real = CLIPTokenizer.from_pretrained(SD15 / "tokenizer")
    for text in ("a photo of a cat, 8k", "Größe 東京 🙂 <tok>", "", "x" * 400):
        assert ours(text, padding="max_length", truncation=True) == real(text, padding="max_length", truncation=True)


@pytest.mark.skipif(not SD15.is_dir(), reason="the configuration in ../shared/data/sd15 is not here")
def test_stable_diffusion_1_has_the_published_settings() -> None:
    ours = bundled_config("sd1").root
    for part in ("unet", "vae"):
        theirs = read(SD15 / part / "config.json")
        assert {key: read(ours / part / "config.json").get(key) for key in theirs if key != "_diffusers_version"} == {
            key: value for key, value in theirs.items() if key != "_diffusers_version"
        }
    theirs = read(SD15 / "scheduler" / "scheduler_config.json")
    mine = read(ours / "scheduler" / "scheduler_config.json")
    assert all(mine.get(key) == value for key, value in theirs.items() if key != "_diffusers_version")
