"""No byte outside the digest: of a run, every file that is opened is one that the manifest lists with its digest.

Beside each part lie the other files that a loader would take: the other library's name, another variant, a pickle, an
adapter's weights, shards without an index, more chat templates, a model for another framework.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file
from support.embeddings import by_encoder, one_key, vectors
from support.ip_adapters import (
    TINY_FLUX,
    TINY_SD3,
    build_image_encoder,
    build_siglip,
    flux_shapes,
    sd3_shapes,
    tiny_shapes,
    write_ip_adapter,
    write_mask,
    write_picture,
)
from support.ldm import sd1_checkpoint
from support.loras import diffusers_file, factors
from support.opened import opened
from support.plain import plain_pipeline
from support.tiny import build_flux, build_sd3, build_sd15, build_sdxl

import recipe_runner
from recipe_runner.weights.files.digests import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is opened is asked of Linux")

RECIPE = {
    "recipe": 1,
    "name": "opened",
    "seeds": [1],
    "sampling": {"num_inference_steps": 2, "height": 16, "width": 16},
    "runtime": {"device": "cpu", "threads": 1},
}
BUILDERS: dict[str, Any] = {"sd1": build_sd15, "sdxl": build_sdxl, "sd3": build_sd3, "flux": build_flux}
BASES: dict[str, dict[str, Any]] = {
    "sd3": {"dual_attention_layers": (0,), "qk_norm": "rms_norm"},
    "flux": {"num_layers": 2},
}
READ = (".json", ".safetensors", ".bin", ".txt", ".model", ".jinja", ".png")
WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"


def other_weights(folder: Path) -> None:
    """Beside the weights of each component of `folder`, files by all other names that a loader looks for."""
    for path in [path for name in WEIGHTS for path in folder.rglob(name)]:
        tensors = {name: tensor * 2 for name, tensor in load_file(path).items()}
        other = WEIGHTS[1 - WEIGHTS.index(path.name)]
        stem = path.name.removesuffix(".safetensors")
        names = [other, f"{stem}.fp16.safetensors", "adapter_model.safetensors", "consolidated.safetensors"]
        names += [f"{stem}-00001-of-00001.safetensors", f"{stem}.bin", "pytorch_model.bin", "flax_model.msgpack"]
        for name in names:
            save_file(tensors, path.parent / name, {"format": "pt"})
        (path.parent / f"{stem}.safetensors.index.fp16.json").write_text("{}")
    for tokenizer in [path.parent for path in folder.rglob("tokenizer_config.json")]:
        (tokenizer / "additional_chat_templates").mkdir()
        (tokenizer / "additional_chat_templates" / "more.jinja").write_text("{{ more }}")
        (tokenizer / "tokenizer.spm").write_bytes(b"other")


def picture_prompt(folder: Path, family: str) -> dict[str, Any]:
    """An IP-Adapter with its image encoder, a picture and a mask."""
    pipeline = plain_pipeline(folder / "model")
    if family == "flux":
        shapes = flux_shapes(blocks=2, xlabs=True, **TINY_FLUX)
    elif family == "sd3":
        shapes = sd3_shapes(attentions=3, translated=False, **TINY_SD3)
    else:
        shapes = tiny_shapes("base", pipeline.unet)
    write_ip_adapter(folder / "look.safetensors", shapes)
    write_picture(folder / "shown.png", 1)
    encoder = build_siglip if family == "sd3" else build_image_encoder
    encoder(folder / "encoder")
    masked = {"mask": str(write_mask(folder / "mask.png", left=True))} if family in ("sd1", "sdxl") else {}
    return {
        "kind": "ip_adapter",
        "model": "look.safetensors",
        "image": "shown.png",
        "image_encoder": {"model": "encoder"},
        **masked,
    }


def write_peft(folder: Path, pipeline: Any) -> None:
    """A LoRA of the UNet as peft saves it, with its configuration."""
    folder.mkdir()
    made = factors(pipeline, 4, ("unet",))
    tensors: dict[str, Any] = {}
    for name, (down, up) in made.items():
        key = f"base_model.model.{name.removeprefix('unet.')}"
        tensors |= {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["to_q"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def adapters(folder: Path, family: str) -> dict[str, Any]:
    """A LoRA in a PEFT folder, a textual inversion where the family has them, and an IP-Adapter."""
    pipeline = plain_pipeline(folder / "model")
    parts = ("unet",) if family in ("sd1", "sdxl") else ("transformer",)
    diffusers_file(folder / "style.safetensors", factors(pipeline, 3, parts))
    found: dict[str, Any] = {"style": {"kind": "lora", "model": "style.safetensors"}}
    if family == "sd1":
        write_peft(folder / "peft", pipeline)
        found["peft"] = {"kind": "lora", "model": "peft"}
        one_key(folder / "learned.safetensors", "<bear>", vectors(1))
    if family == "sdxl":
        by_encoder(folder / "learned.safetensors", vectors(1), vectors(2))
    if family in ("sd1", "sdxl"):
        found["learned"] = {"kind": "textual_inversion", "model": "learned.safetensors", "token": "<bear>"}
    return {**found, "look": picture_prompt(folder, family)}


def run(folder: Path, runs: str, base: dict[str, Any], **more: Any) -> tuple[set[str], set[str], str]:
    """Run a recipe: the files that were opened in its folder, those that the manifest lists, and the pixels' digest."""
    recipe = {**RECIPE, "base": base, "prompts": [{"id": "bear", "prompt": "a <bear> on red"}], **more}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    with opened(folder) as seen:
        done = recipe_runner.run_recipe(folder / "recipe.yaml", runs=folder.parent / runs)
    own = folder.parent.resolve(), cache_folder().resolve()
    assert not [path for path in seen.outside if path.suffix in READ and not any(map(path.is_relative_to, own))]
    told = json.loads((done.folder / "manifest.json").read_text())
    listed = set()
    for source in told["sources"]:
        address = source["address"]
        inside = "" if (folder / address).is_file() else f"{address}/"
        listed |= {f"{inside}{file['name']}" for file in source["files"]}
    # A lock beside the recipe is looked for.
    return seen.inside - {"recipe.yaml", "recipe.lock.yaml"}, listed, told["images"][0]["pixel_sha256"]


@pytest.mark.parametrize("family", BUILDERS)
def test_every_file_that_is_opened_was_hashed(family: str, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    BUILDERS[family](folder / "model", **BASES.get(family, {}))
    shutil.copytree(folder / "model" / "vae", folder / "vae")
    shutil.copytree(folder / "model" / "text_encoder", folder / "both")
    shutil.copytree(folder / "model" / "tokenizer", folder / "both", dirs_exist_ok=True)
    components = {"vae": {"model": "vae"}, "text_encoder": {"model": "both"}, "tokenizer": {"model": "both"}}
    recipe = {"base": {"model": "model", "components": components}, "adapters": adapters(folder, family)}
    opened_before, listed, pixels = run(folder, "runs", **recipe)
    assert opened_before <= listed
    assert {name for name in listed if name.endswith((".safetensors", ".png"))} <= opened_before
    other_weights(folder)
    assert run(folder, "again", **recipe) == (opened_before, listed, pixels)


def test_of_a_single_file_too(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    build_sd15(folder / "config")
    save_file(sd1_checkpoint(plain_pipeline(folder / "config")), folder / "whole.safetensors")
    shutil.copytree(folder / "config" / "unet", folder / "unet")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet.safetensors")
    components = {"unet": {"model": "unet.safetensors"}}
    seen, listed, _ = run(folder, "runs", {"model": "whole.safetensors", "config": "config", "components": components})
    assert seen <= listed
    assert {"whole.safetensors", "unet.safetensors", "config/model_index.json"} <= seen
    assert not {name for name in seen if name.startswith("config/") and name.endswith(".safetensors")}
