"""Files of IP-Adapters and embeddings as other programs and training frameworks save them: as planned, so made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.embeddings import vectors
from support.ip_adapters import build_image_encoder, tiny_shapes, write_ip_adapter, write_picture
from support.plain import plain_pipeline
from transformers import CLIPVisionModelWithProjection

import recipe_runner
from recipe_runner.memory import weights_memory
from recipe_runner.weights.identify.folder import identify

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """\
recipe: 1
name: elsewhere
base: {model: model}
adapters:
  look: {kind: ip_adapter, model: look.safetensors, image_encoder: {model: encoder}, image: bear.png, scale: 0.6}
prompts: [{prompt: a red star}]
seeds: [1]
sampling: {num_inference_steps: 2, guidance_scale: 4.0}
runtime: {device: cpu, threads: 1}
"""


@pytest.fixture(scope="module")
def folder(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base, an IP-Adapter with its encoder, and a picture."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "model").symlink_to(sd15_folder)
    write_ip_adapter(folder / "look.safetensors", tiny_shapes("base", plain_pipeline(sd15_folder).unet))
    build_image_encoder(folder / "encoder")
    write_picture(folder / "bear.png", 1)
    return folder


def test_a_base_s_encoder_is_loaded_and_counted_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Any] = []
    load = CLIPVisionModelWithProjection.from_pretrained.__func__

    def counted(cls: Any, *arguments: Any, **settings: Any) -> Any:
        loads.append(arguments)
        return load(cls, *arguments, **settings)

    monkeypatch.setattr(CLIPVisionModelWithProjection, "from_pretrained", classmethod(counted))
    override = "base.components={image_encoder: {model: encoder}}"
    (folder / "recipe.yaml").write_text(RECIPE)
    variant = recipe_runner.compile_recipe(folder / "recipe.yaml", [override]).recipe.variants[0]
    weights = weights_memory(variant)
    assert weights is not None
    assert [part for part in weights.components if "encoder" in part] == ["text_encoder", "image encoders"]
    recipe_runner.run_recipe(folder / "recipe.yaml", [override], runs=folder / "runs-once")
    assert len(loads) == 1


@pytest.mark.parametrize("wrapped", ["state_dict", "step"])
def test_what_a_training_framework_wrote_is_read_as_planned(wrapped: str, folder: Path) -> None:
    parts: dict[str, Any] = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in load_file(folder / "look.safetensors").items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    torch.save({"state_dict": parts} if wrapped == "state_dict" else {**parts, "step": 3}, folder / f"{wrapped}.bin")
    made = []
    for name in ("look.safetensors", f"{wrapped}.bin"):
        path = folder / "recipe.yaml"
        path.write_text(RECIPE.replace("look.safetensors", name))
        changes = ["runtime.allow_pickle=true"]
        run = recipe_runner.run_recipe(path, changes, runs=folder / f"runs-{wrapped}")
        made.append(pixels(run.folder))
    assert made[0] == made[1]


def pixels(run: Path) -> list[bytes]:
    """What each picture of a run shows."""
    return [Image.open(path).convert("RGB").tobytes() for path in sorted(run.glob("images/*.png"))]


def test_each_token_of_a_file_of_several_is_its_own_vectors(folder: Path) -> None:
    torch.save({"<cat>": vectors(1)[0], "<dog>": vectors(2, 2)}, folder / "several.bin")
    torch.save([vectors(2, 2)], folder / "listed.pt")
    torch.save({"<cat>": vectors(1)[0]}, folder / "cat.bin")
    head = RECIPE[: RECIPE.index("adapters:")] + "adapters:\n"
    tail = RECIPE[RECIPE.index("seeds:") :].replace("device: cpu", "device: cpu, allow_pickle: true")
    made = []
    for number, (cat, dog) in enumerate((("several.bin", "several.bin"), ("cat.bin", "listed.pt"))):
        path = folder / f"tokens-{number}.yaml"
        adapters = f"  c: {{kind: textual_inversion, model: {cat}, token: <cat>}}\n"
        adapters += f"  d: {{kind: textual_inversion, model: {dog}, token: <dog>}}\n"
        path.write_text(f"{head}{adapters}prompts: [{{prompt: a <cat> on a <dog>}}]\n{tail}")
        made.append(pixels(recipe_runner.run_recipe(path, runs=folder / "runs-tokens").folder))
    assert made[0] == made[1]
    assert [each.tree["details"] for each in identify(folder / "several.bin")] == [
        {"tokens": ["<cat>", "<dog>"], "widths": [32]}
    ]
