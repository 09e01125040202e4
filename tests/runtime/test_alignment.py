"""Bits depend on what a weights file holds, and not on where in the file it lies.

On a CPU a matrix product of one row takes another kernel for a weight whose memory is not aligned, and a mapped weight
lies where the file's header leaves it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.embeddings import one_key, vectors
from support.handles import (
    base_model,
    embedding_model,
    file_source,
    handle,
    ip_adapter_model,
    lora_model,
    shown_picture,
    source,
)
from support.ip_adapters import build_image_encoder, tiny_shapes, write_ip_adapter, write_picture
from support.ldm import sd1_checkpoint
from support.loras import diffusers_file, factors
from support.plain import plain_pipeline
from support.shifted import shifted, shifted_folder

from recipe_runner.plan.resolved import ModelHandle
from recipe_runner.plan.resolved_base import ResolvedBase, ResolvedComponent
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.load.tensors import ALIGNMENT_BYTES

SHIFTS = (0, 4, 8, 16, 20, 40)
"""Bytes after a multiple of 64 where a file's first tensor lies."""
# Without guidance a layer that reads the timestep has one row.
SAMPLING = {"num_inference_steps": 1, "guidance_scale": 1.0, "height": 16, "width": 16}
FOLDERS = ("sd15_folder", "sdxl_folder", "sd3_folder", "flux_folder")


def bits(wanted: ModelHandle, images: Any = ()) -> list[torch.Tensor]:
    """The floats of a prompt's encoding and of the latents, with every parameter of the pipeline aligned."""
    live = LivePipeline("cpu", "strict", 1)
    conditioning = live.encode(wanted, {"prompt": "a red bear learned"}, guided=False)
    latents = live.denoise(wanted, [conditioning], [3], SAMPLING, images=[images])
    for name, part in live.require(wanted).components.items():
        state = part.state_dict() if isinstance(part, torch.nn.Module) else {}
        assert not [key for key, tensor in state.items() if tensor.data_ptr() % ALIGNMENT_BYTES], name
    return [*conditioning.arguments.values(), latents.value]


def require_same(made: list[list[torch.Tensor]]) -> None:
    first, *others = made
    for other in others:
        assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    copies = [shifted_folder(folder, tmp_path / str(more), more) for more in SHIFTS]
    require_same([bits(handle(base_model(copy))) for copy in copies])


def test_a_single_file(sd15_folder: Path, tmp_path: Path) -> None:
    save_file(sd1_checkpoint(plain_pipeline(sd15_folder)), tmp_path / "whole.safetensors")
    ignored = shutil.ignore_patterns("*.safetensors")
    config = source(shutil.copytree(sd15_folder, tmp_path / "config", ignore=ignored))
    made = []
    for more in SHIFTS:
        path = shifted(tmp_path / "whole.safetensors", tmp_path / f"{more}.safetensors", more)
        base = ResolvedBase(
            source=file_source(path),
            weight_name=path.name,
            config=config,
            pipeline="StableDiffusionPipeline",
        )
        made.append(bits(handle(base)))
    require_same(made)


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_component(form: str, sdxl_folder: Path, tmp_path: Path) -> None:
    made = []
    for more in SHIFTS:
        part = shifted_folder(sdxl_folder / "text_encoder_2", tmp_path / str(more), more)
        weight_name = "model.safetensors" if form == "file" else None
        component = ResolvedComponent(source=source(part), weight_name=weight_name)
        made.append(bits(handle(base_model(sdxl_folder, components={"text_encoder_2": component}))))
    require_same(made)


def test_a_lora(sd15_folder: Path, tmp_path: Path) -> None:
    # Those of the layers that read the timestep, too.
    diffusers_file(tmp_path / "style.safetensors", factors(plain_pipeline(sd15_folder), 1))
    made = []
    for more in SHIFTS:
        path = shifted(tmp_path / "style.safetensors", tmp_path / f"{more}.safetensors", more)
        made.append(bits(handle(base_model(sd15_folder), lora_model(path), style=0.5)))
    require_same(made)


def test_a_textual_inversion(sd15_folder: Path, tmp_path: Path) -> None:
    one_key(tmp_path / "one.safetensors", "learned", vectors(1, 2))
    made = []
    for more in SHIFTS:
        path = shifted(tmp_path / "one.safetensors", tmp_path / f"{more}.safetensors", more)
        made.append(bits(handle(base_model(sd15_folder), embedding_model(path))))
    require_same(made)


@pytest.mark.parametrize("variant", ["base", "plus", "full"])
def test_an_ip_adapter(variant: str, sd15_folder: Path, tmp_path: Path) -> None:
    shapes = tiny_shapes(variant, plain_pipeline(sd15_folder).unet)
    write_ip_adapter(tmp_path / "look.safetensors", shapes)
    encoder = ResolvedComponent(source=source(build_image_encoder(tmp_path / "encoder")), dtype="float32")
    prompt = shown_picture("look", encoder, write_picture(tmp_path / "bear.png", 1), hidden=variant != "base")
    shown = LivePipeline("cpu", "strict", 1).encode_image(prompt)
    made = []
    for more in SHIFTS:
        path = shifted(tmp_path / "look.safetensors", tmp_path / f"{more}.safetensors", more)
        made.append(bits(handle(base_model(sd15_folder), ip_adapter_model(path), look=0.5), [shown]))
    require_same(made)


@pytest.mark.parametrize("hidden", [False, True])
def test_an_image_encoder(tmp_path: Path, *, hidden: bool) -> None:
    folder, picture = build_image_encoder(tmp_path / "encoder"), write_picture(tmp_path / "bear.png", 1)
    made = []
    for more in SHIFTS:
        files = source(shifted_folder(folder, tmp_path / str(more), more))
        component = ResolvedComponent(source=files, dtype="float32")
        shown = LivePipeline("cpu", "strict", 1).encode_image(shown_picture("look", component, picture, hidden=hidden))
        assert shown.embeds.negative is not None
        made.append([shown.embeds.positive, shown.embeds.negative])
    require_same(made)
