"""IP-Adapter rows of the loading guide: a recipe's pictures are those of the plain calls, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from support.embeddings import one_key, vectors
from support.ip_adapters import (
    build_image_encoder,
    tensors_of,
    tiny_shapes,
    write_ip_adapter,
    write_mask,
    write_picture,
)
from support.loras import diffusers_file, factors
from support.parity import recipe_pictures, scripts_pictures
from support.plain import plain_pipeline
from support.tiny import build_sd15

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS = {
    "ip_adapter": """\
adapters:
  look: {kind: ip_adapter, model: ., subfolder: models, weight_name: look.safetensors, image: bear.png}
prompts:
  - {id: star, prompt: a red star}
  - {id: circle, prompt: a circle, images: {look: other.png}}
seeds: [1]
matrix:
  adapters.look.scale: [0.6, {down: {block_1: [0.5]}, up: {block_0: [0.0, 1.0]}}]
""",
    "ip_adapter_multi": """\
adapters:
  look: {kind: ip_adapter, model: models/look.safetensors, scale: 0.7, image: [bear.png, other.png]}
  full: {kind: ip_adapter, model: models/look-full.safetensors, scale: {up: 0.9, mid: 0.4}, image: other.png}
  plus: {kind: ip_adapter, model: models/look-plus.safetensors, scale: 0.3, image: bear.png}
prompts: [{prompt: a red star}]
seeds: [1]
""",
    "ip_adapter_masks": """\
adapters:
  plus:
    kind: ip_adapter
    model: models/look-plus.safetensors
    scale: 0.8
    image: [bear.png, other.png]
    mask: [left.png, right.png]
  look: {kind: ip_adapter, model: models/look.safetensors, scale: 0.4, image: bear.png}
prompts: [{prompt: a red star}]
seeds: [1]
""",
    "ip_adapter_face_id": """\
adapters:
  face:
    kind: ip_adapter
    model: faces
    weight_name: ip-adapter-faceid.bin
    scale: 0.6
    image_embeds: face.npy
  style: {kind: lora, model: style.safetensors, scale: 0.7}
prompts: [{prompt: a red star}]
seeds: [1]
""",
    "ip_adapter_face_id_plus": """\
adapters:
  face:
    kind: ip_adapter
    model: faces
    weight_name: ip-adapter-faceid-plusv2.safetensors
    image_encoder: {model: models, subfolder: image_encoder}
    scale: 0.6
    image: bear.png
    image_embeds: face.npy
prompts: [{prompt: a red star}]
seeds: [1]
matrix:
  adapters.face.shortcut: [false, true]
""",
    "together": """\
adapters:
  look: {kind: ip_adapter, model: models/look-plus.safetensors, scale: 0.6, image: bear.png}
  style: {kind: lora, model: style.safetensors, scale: 0.8}
  hat: {kind: textual_inversion, model: hat.safetensors}
prompts: [{prompt: a red <hat>}]
seeds: [1]
matrix: {base.model: [model, dreambooth]}
""",
    "unload": """\
prompts: [{prompt: a red hat}]
seeds: [1]
matrix:
  adapters:
    # In whatever order the images are made, something leaves before another comes.
    - style: {kind: lora, model: style.safetensors}
      hat: {kind: textual_inversion, model: hat.safetensors, token: hat}
    - look: {kind: ip_adapter, model: models/look.safetensors, image: bear.png}
    - {}
""",
}


OVERRIDES = {"ip_adapter_face_id": ["runtime.allow_pickle=true"]}


@pytest.fixture(scope="module")
def files(sd15_folder: Path, sdxl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of every row, in the folders of h94/IP-Adapter."""
    folder = tmp_path_factory.mktemp("ip_adapters")
    (folder / "model").symlink_to(sd15_folder)
    (folder / "sdxl").symlink_to(sdxl_folder)
    build_sd15(folder / "dreambooth", seed=11)
    one_key(folder / "hat.safetensors", "<hat>", vectors(3, 2))
    for name in ("models", "sdxl_models", "faces"):
        (folder / name).mkdir()
    build_image_encoder(folder / "models" / "image_encoder")
    build_image_encoder(folder / "encoders" / "vit", seed=8)
    pipeline = plain_pipeline(sd15_folder)
    for seed, variant in enumerate(("base", "plus", "full"), 1):
        name = "look.safetensors" if variant == "base" else f"look-{variant}.safetensors"
        write_ip_adapter(folder / "models" / name, tiny_shapes(variant, pipeline.unet), seed)
    diffusers_file(folder / "style.safetensors", factors(pipeline, 1))
    face = tensors_of(tiny_shapes("faceid", pipeline.unet, lora=4), 5)
    parts = {
        part: {k.partition(".")[2]: t for k, t in face.items() if k.startswith(part)}
        for part in ("image_proj", "ip_adapter")
    }
    torch.save(parts, folder / "faces" / "ip-adapter-faceid.bin")
    plus = tiny_shapes("faceid_plus", pipeline.unet, lora=2)
    write_ip_adapter(folder / "faces" / "ip-adapter-faceid-plusv2.safetensors", plus, 6)
    xl = tiny_shapes("plus", plain_pipeline(sdxl_folder).unet, tokens=6)
    write_ip_adapter(folder / "sdxl_models" / "look-plus.safetensors", xl, 7)
    np.save(folder / "face.npy", np.random.default_rng(3).normal(size=512).astype(np.float32) / 20)
    write_picture(folder / "bear.png", 1)
    write_picture(folder / "other.png", 2)
    write_mask(folder / "left.png", left=True)
    write_mask(folder / "right.png", left=False)
    return folder


@pytest.fixture(scope="module")
def plain(files: Path) -> dict[str, NDArray[np.uint8]]:
    """What the plain scripts make."""
    return scripts_pictures(files, [*ROWS, "ip_adapter_plus"])


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_guide(row: str, files: Path, plain: dict[str, NDArray[np.uint8]]) -> None:
    expected = plain[row]
    assert np.array_equal(recipe_pictures(files, ROWS[row], *OVERRIDES.get(row, ())), expected)
    assert expected.std() > 5
    assert len(np.unique(expected, axis=0)) == len(expected)


PLUS = """\
adapters:
  look:
    kind: ip_adapter
    model: .
    subfolder: sdxl_models
    weight_name: look-plus.safetensors
    image_encoder: {{model: encoders, subfolder: vit}}
    scale: 0.5
    {shown}
prompts: [{{prompt: a red star}}]
seeds: [1]
matrix: {{sampling.guidance_scale: {guidance}}}
"""


def test_plus_with_and_without_guidance_and_with_embeddings_made_before(
    files: Path, plain: dict[str, NDArray[np.uint8]]
) -> None:
    expected = plain["ip_adapter_plus"]
    pictures = recipe_pictures(files, PLUS.format(shown="image: bear.png", guidance=[5.0, 1.0]), "base.model=sdxl")
    embeds = recipe_pictures(files, PLUS.format(shown="image_embeds: bear.npy", guidance=[5.0]), "base.model=sdxl")
    assert np.array_equal(np.concatenate([pictures, embeds]), expected)
    assert np.array_equal(expected[0], expected[2])
    assert not np.array_equal(expected[0], expected[1])
