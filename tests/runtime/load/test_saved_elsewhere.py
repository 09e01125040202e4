"""Files of IP-Adapters and embeddings as other programs and training frameworks save them: as planned, so made."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.embeddings import vectors
from support.ip_adapters import build_image_encoder, tiny_shapes, write_ip_adapter, write_picture
from support.ldm import image_tensors, open_clip_tensors, sd1_checkpoint
from support.plain import plain_picture, plain_pipeline
from transformers import CLIPVisionModelWithProjection

import recipe_runner
from recipe_runner.actions.check_weights import weights_problems
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.plan.checks.memory import weights_memory
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.weights.identify.folder import identify

if TYPE_CHECKING:
    from collections.abc import Callable
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


def as_vae(pipeline: Any) -> dict[str, Any]:
    own = {k.removeprefix("first_stage_model."): v for k, v in image_tensors(pipeline).items() if "first_stage" in k}
    return {**own, "loss.logvar": torch.zeros(()), "model_ema.decay": torch.zeros(())}


def as_unet(pipeline: Any) -> dict[str, Any]:
    prefix = "model.diffusion_model."
    return {k.removeprefix(prefix): v for k, v in image_tensors(pipeline).items() if k.startswith(prefix)}


def as_clip_l(pipeline: Any) -> dict[str, Any]:
    own = {f"text_model.{key.removeprefix('text_model.')}": v for key, v in pipeline.text_encoder.state_dict().items()}
    return {**own, "logit_scale": torch.zeros(()), "text_projection.weight": torch.zeros(4, 4)}


def as_clip_g(pipeline: Any) -> dict[str, Any]:
    return {**open_clip_tensors(pipeline.text_encoder_2, ""), "visual.proj": torch.zeros(2)}


PARTS: dict[str, tuple[str, str, Callable[[Any], dict[str, Any]]]] = {
    "a VAE with its losses": ("model", "vae", as_vae),
    "a UNet alone": ("model", "unet", as_unet),
    "ComfyUI's clip_l": ("model", "text_encoder", as_clip_l),
    "OpenCLIP": ("sdxl", "text_encoder_2", as_clip_g),
    "the VAE of a whole checkpoint": ("model", "vae", sd1_checkpoint),
}


@pytest.mark.parametrize("what", PARTS)
def test_a_part_in_a_single_file_gives_back_each_value(what: str, folder: Path, sdxl_folder: Path) -> None:
    base, part, save = PARTS[what]
    if not (folder / "sdxl").exists():
        (folder / "sdxl").symlink_to(sdxl_folder)
    pipeline = plain_pipeline(folder / base)
    save_file({key: value.contiguous().clone() for key, value in save(pipeline).items()}, folder / "part.safetensors")
    path = folder / "part.yaml"
    path.write_text(
        f"recipe: 1\nname: part\nbase: {{model: {base}, components: {{{part}: {{model: part.safetensors}}}}}}\n"
        "prompts: [{prompt: a bear}]\nseeds: [1]\nsampling: {num_inference_steps: 2, height: 16, width: 16}\n"
    )
    assert weights_problems(path) == ()
    replaced = recipe_runner.compile_recipe(path).recipe.variants[0].base
    own = recipe_runner.compile_recipe(path, ["base.components={}"]).recipe.variants[0].base
    assert base_modules(replaced) == base_modules(own) is not None
    made = pixels(recipe_runner.run_recipe(path, runs=folder / "runs-parts").folder)
    size = {"num_inference_steps": 2, "height": 16, "width": 16}
    assert made == [plain_picture(pipeline, "a bear", 1, **size).tobytes()]


def test_a_part_of_another_kind_is_told_while_planning(folder: Path) -> None:
    save_file({k: v.clone() for k, v in as_vae(plain_pipeline(folder / "model")).items()}, folder / "vae.safetensors")
    path = folder / "wrong.yaml"
    path.write_text(
        "recipe: 1\nname: wrong\nbase: {model: model, components: {text_encoder: {model: vae.safetensors}}}\n"
        "prompts: [{prompt: a bear}]\n"
    )
    (problem,) = weights_problems(path)
    assert (problem.code, problem.line) == ("E506", 3)
    assert "needs a CLIPTextModel, and vae.safetensors is a vae" in problem.message
    path.write_text(path.read_text().replace("{text_encoder: {model: vae", "{vae: {model: wide"))
    encoder = {"encoder.conv_out.weight": torch.zeros(32, 32, 3, 3), "quant_conv.weight": torch.zeros(32, 32, 1, 1)}
    wide = {**as_vae(plain_pipeline(folder / "model")), **encoder, "decoder.conv_in.weight": torch.zeros(32, 16, 3, 3)}
    wide["post_quant_conv.weight"] = torch.zeros(16, 16, 1, 1)
    save_file({k: v.clone() for k, v in wide.items()}, folder / "wide.safetensors")
    (problem,) = weights_problems(path)
    assert problem.code == "E507"
    assert "vae: wide.safetensors has latent_channels 16, and the base's has 4" in problem.message


def test_a_mask_that_is_white_below_its_transparency_is_told(folder: Path) -> None:
    cut_out = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    cut_out.paste((255, 255, 255, 255), (0, 0, 8, 16))
    cut_out.save(folder / "cut-out.png")
    Image.new("1", (16, 16)).save(folder / "black.png")
    path, masked = folder / "mask.yaml", "image: [bear.png, bear.png], mask: [cut-out.png, black.png]"
    path.write_text(RECIPE.replace("image: bear.png", masked))
    white, black = weights_problems(path)
    assert (white.code, white.line, black.code) == ("W626", 5, "W626")
    assert ("white everywhere" in white.message, "transparency is not read" in white.hint) == (True, True)
    assert ("black everywhere" in black.message, "transparency" in black.hint) == (True, False)


def test_a_tokenizer_that_does_not_say_how_long_prompts_are_is_refused(folder: Path) -> None:
    shutil.copytree(folder / "model", folder / "endless")
    settings = folder / "endless" / "tokenizer" / "tokenizer_config.json"
    told = json.loads(settings.read_text())
    del told["model_max_length"]
    settings.write_text(json.dumps(told))
    path = folder / "endless.yaml"
    path.write_text("recipe: 1\nname: endless\nbase: {model: endless}\nprompts: [{prompt: a bear}]\n")
    with pytest.raises(RecipeRunnerError) as caught:
        recipe_runner.run_recipe(path, runs=folder / "runs-endless")
    (problem,) = caught.value.problems
    assert (problem.code, "model_max_length" in problem.message) == ("E507", True)


def test_shapes_that_transformers_only_logs_are_told_by_name(folder: Path) -> None:
    shutil.copytree(folder / "model", folder / "narrow")
    weights = folder / "narrow" / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("layers.0.layer_norm1.weight"))
    save_file({**tensors, name: tensors[name][:20].clone()}, weights, {"format": "pt"})
    path = folder / "narrow.yaml"
    path.write_text("recipe: 1\nname: narrow\nbase: {model: narrow}\nprompts: [{prompt: a bear}]\n")
    with pytest.raises(RecipeRunnerError) as caught:
        recipe_runner.run_recipe(path, runs=folder / "runs-narrow")
    (problem,) = caught.value.problems
    assert problem.code == "E503"
    assert "layers.0.layer_norm1.weight (20 instead of 32)" in problem.message
