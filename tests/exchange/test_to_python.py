"""Exported scripts make the pixels of a run, with nothing of this package in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.command import ROOT, call
from support.ip_adapters import build_image_encoder, tiny_shapes, write_ip_adapter, write_mask, write_picture
from support.ldm import sd1_checkpoint
from support.loras import diffusers_file, factors
from support.plain import plain_pipeline
from support.tiny import _one_thread, flux_folder, sd3_folder, sd15_folder, sdxl_folder

import recipe_runner

__all__ = ["_one_thread", "flux_folder", "sd3_folder", "sd15_folder", "sdxl_folder"]

RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
STEPS = "sampling.num_inference_steps=2"
HEAD = "recipe: 1\nruntime: {device: cpu, threads: 1}\n"
# A device of its own, so that a script means the same machine as the run.
TINY = {
    "plain": """\
base: {model: sd15, scheduler: {config: {timestep_spacing: trailing}}}
prompts: [{prompt: a bear, negative_prompt: blurry}, {id: two, prompt: "it's a \\"red\\" circle \\\\ 🐻"}]
seeds: {start: 3, count: 2}
sampling: {num_inference_steps: 2, guidance_scale: 3.0, height: 24, width: 32}
""",
    "skip": """\
base: {model: sd15}
prompts: [{prompt: a bear, negative_prompt: blurry}]
sampling: {num_inference_steps: 2}
matrix: {sampling.clip_skip: [1, 2]}
""",
    "blocks": """\
base: {model: sd15}
adapters:
  style:
    kind: lora
    model: style.safetensors
    scale: {unet: {down: 0.9, mid: -0.5, up: {block_0: [0.4, 0.8]}}, text_encoder: 0.5}
  other: {kind: lora, model: other.safetensors, target: unet, scale: 0.7}
prompts: [{prompt: a bear}]
sampling: {num_inference_steps: 2}
matrix: {adapters.other.scale: [0.0, 0.7], "prompts[0].prompt": [a bear, a red circle]}
""",
    "parts": """\
base: {model: sd15, components: {vae: {model: other, subfolder: vae}, safety_checker: null}}
prompts: [{prompt: a bear}]
sampling: {num_inference_steps: 2}
output: {format: webp}
matrix: {seeds: [[1], [2, 3]]}
""",
    "single-files": """\
base: {model: whole.safetensors, config: sd15, components: {vae: {model: vae.safetensors}}}
prompts: [{prompt: a bear}]
sampling: {num_inference_steps: 2}
""",
    "bases": """\
base: {model: sd15}
prompts: [{prompt: a bear}]
sampling: {num_inference_steps: 2}
output: {format: jpeg}
matrix: {base.model: [sd15, other], base.scheduler: [{}, {class: EulerAncestralDiscreteScheduler}]}
""",
    "batches": """\
base: {model: sd15}
prompts: [{prompt: a bear}, {prompt: a red circle, negative_prompt: blurry}]
seeds: [1, 2, 3]
sampling: {num_inference_steps: 2}
runtime: {device: cpu, threads: 1, reproducibility: fast, batch_size: 4}
""",
    "sdxl": """\
base: {model: sdxl, dtype: bfloat16}
prompts: [{prompt: a bear, prompt_2: film, negative_prompt: blurry}]
sampling: {num_inference_steps: 2, clip_skip: 1, original_size: [64, 48]}
""",
    "tokens": """\
base: {model: sd15}
adapters:
  cat: {kind: textual_inversion, model: cat.safetensors, token: <cat>}
  Bad_Artist: {kind: textual_inversion, model: bad.pt, token: Bad-Artist}
prompts: [{prompt: "a <cat> on a <cat>", negative_prompt: "BAD-artist, blurry"}, {prompt: a bear}]
sampling: {num_inference_steps: 2}
runtime: {device: cpu, threads: 1, allow_pickle: true}
""",
    "tokens-xl": """\
base: {model: sdxl}
adapters:
  hat: {kind: textual_inversion, model: hat.safetensors, token: <hat>}
prompts: [{prompt: a bear with <hat>, prompt_2: a film}]
sampling: {num_inference_steps: 2}
""",
    "looks": """\
base: {model: sd15}
adapters:
  style: {kind: lora, model: style.safetensors, scale: 0.7}
  look: {kind: ip_adapter, model: models, weight_name: look.safetensors, image: bear.png}
  plus: {kind: ip_adapter, model: models/look-plus.safetensors, scale: 0.4, image: [bear.png, other.png]}
prompts: [{prompt: a bear}, {prompt: a red circle, images: {look: other.png}}]
sampling: {num_inference_steps: 2}
matrix: {adapters.look.scale: [0.0, 0.6, {up: {block_0: [0.0, 1.0]}}]}
""",
    "masks": """\
base: {model: sd15}
adapters:
  plus:
    kind: ip_adapter
    model: models/look-plus.safetensors
    scale: 0.8
    image: [bear.png, other.png]
    mask: [left.png, right.png]
  look: {kind: ip_adapter, model: models, weight_name: look.safetensors, scale: 0.4, image: bear.png}
prompts: [{prompt: a bear}]
sampling: {num_inference_steps: 2}
matrix: {"adapters.plus.scale": [0.8, 0.1]}
""",
    "faces": """\
base: {model: sd15}
adapters:
  style: {kind: lora, model: style.safetensors, scale: 0.7}
  face: {kind: ip_adapter, model: models/faceid.safetensors, image_embeds: two.npy}
  plus:
    kind: ip_adapter
    model: models/faceid-plusv2.safetensors
    scale: 0.5
    image: bear.png
    image_embeds: face.npy
    shortcut: false
  look: {kind: ip_adapter, model: models, weight_name: look.safetensors, scale: 0.4, image: bear.png}
prompts: [{prompt: a bear}, {prompt: a red circle, images: {look: pair.safetensors, face: [face.npy, two.npy]}}]
sampling: {num_inference_steps: 2}
matrix: {adapters.face.scale: [0.0, 0.6], adapters.plus.shortcut: [false, true], sampling.guidance_scale: [1.0, 5.0]}
""",
    "face-masks": """\
base: {model: sd15}
adapters:
  look:
    kind: ip_adapter
    model: models/look.safetensors
    image_embeds: pair.safetensors
    mask: [left.png, right.png]
prompts: [{prompt: a bear}]
sampling: {num_inference_steps: 2}
""",
    "look-batches": """\
base: {model: sd15}
adapters: {look: {kind: ip_adapter, model: models, weight_name: look.safetensors, image: bear.png}}
prompts: [{prompt: a bear}, {prompt: a red circle, images: {look: other.png}}]
sampling: {num_inference_steps: 2}
runtime: {device: cpu, threads: 1, reproducibility: fast, batch_size: 2}
""",
    "sd3": "base: {model: sd3}\nprompts: [{prompt: a bear}]\nsampling: {num_inference_steps: 2}\n",
    "flux": """\
base: {model: flux}
prompts: [{prompt: a bear}]
sampling: {num_inference_steps: 2, height: 16, width: 24}
""",
}  # fmt: skip
SCHEDULERS = (
    "matrix={base.scheduler: [{class: EulerDiscreteScheduler}, "
    "{class: DPMSolverMultistepScheduler, config: {algorithm_type: sde-dpmsolver++}}]}"
)
LAST_BITS = ("batches", "look-batches")
"""What diffusers computes together and a run one by one: the script says so, and a pixel may differ by one."""
BEYOND_DIFFUSERS = ("lycoris", "merge", "hub/merge", "hub/face-id", "hub/face-id-plus")
"""Recipes of what diffusers has no loader for, or of embeddings for an adapter that is not on this machine."""
DEMO = {
    "face-id": [],
    "ip-adapter": ["seeds=[1]"],
    "ip-adapter-blocks": ["seeds=[1]"],
    "ip-adapter-masks": ["seeds=[1]"],
    "ip-adapter-plus": ["seeds=[1]"],
    "together": ["seeds=[1]"],
    "textual-inversion": ["seeds=[1]"],
    "negative-embedding": ["seeds=[1]"],
    "two-loras": ["seeds=[1]"],
    "lora-unet-only": ["seeds=[1]"],
    "dreambooth": [],
    "quickstart": ["seeds=[1]"],
    "lora-scale": [],
    "lora-blocks": ["seeds=[1]"],
    "schedulers": [SCHEDULERS],
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_recipe_exports_to_a_script_that_compiles(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = call(capsys, "export", str(path), "--to", "python", "-o", str(tmp_path / "script.py"))
    text = (tmp_path / "script.py").read_text(encoding="utf-8")
    compile(text, "script.py", "exec")
    assert "recipe_runner" not in text
    name = path.relative_to(ROOT / "recipes").with_suffix("").as_posix()
    assert (answer.status, answer.out) == (name in BEYOND_DIFFUSERS, f"{tmp_path}/script.py\n"), answer.err


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Pixels by file name."""
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def write_image_prompts(folder: Path, unet: Any) -> None:
    """IP-Adapters of four kinds, and all that they are shown."""
    (folder / "models").mkdir()
    build_image_encoder(folder / "models" / "image_encoder")
    for seed, variant in enumerate(("base", "plus"), 1):
        name = "look.safetensors" if variant == "base" else "look-plus.safetensors"
        write_ip_adapter(folder / "models" / name, tiny_shapes(variant, unet), seed)
        write_picture(folder / ("bear.png" if seed == 1 else "other.png"), seed)
    for variant, name, rank in (("faceid", "faceid", 4), ("faceid_plus", "faceid-plusv2", 2)):
        shapes = tiny_shapes(variant, unet, lora=rank)
        write_ip_adapter(folder / "models" / f"{name}.safetensors", shapes, rank)
    faces = torch.randn(3, 512, generator=torch.Generator().manual_seed(6)) / 20
    np.save(folder / "face.npy", faces[0].numpy())
    np.save(folder / "two.npy", faces[1:].half().numpy())
    # Of two images, and before them what guidance steers away from.
    save_file({"x": torch.randn(2, 2, 24, generator=torch.Generator().manual_seed(7))}, folder / "pair.safetensors")
    write_mask(folder / "left.png", left=True)
    write_mask(folder / "right.png", left=False)


def test_scripts_make_the_pixels_of_a_run(
    sd15_folder: Path,
    sdxl_folder: Path,
    sd3_folder: Path,
    flux_folder: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for name, folder in {"sd15": sd15_folder, "sdxl": sdxl_folder, "sd3": sd3_folder, "flux": flux_folder}.items():
        (tmp_path / name).symlink_to(folder)
    pipeline = plain_pipeline(sd15_folder)
    diffusers_file(tmp_path / "style.safetensors", factors(pipeline, 1))
    diffusers_file(tmp_path / "other.safetensors", factors(pipeline, 2, rank=2))
    width = pipeline.text_encoder.config.hidden_size
    vectors = torch.randn(4, 3, width, generator=torch.Generator().manual_seed(5)) / 8
    save_file({"<cat>": vectors[0, 0]}, tmp_path / "cat.safetensors")
    torch.save({"string_to_param": {"*": vectors[1]}, "name": "x"}, tmp_path / "bad.pt")
    save_file({"clip_l": vectors[2], "clip_g": vectors[3]}, tmp_path / "hat.safetensors")
    write_image_prompts(tmp_path, pipeline.unet)
    whole = sd1_checkpoint(pipeline)
    save_file({**whole, "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, tmp_path / "whole.safetensors")
    prefix = "first_stage_model."
    vae = {key.removeprefix(prefix): tensor for key, tensor in whole.items() if key.startswith(prefix)}
    save_file(vae, tmp_path / "vae.safetensors")
    # Another base of the same shape: an export must load the right one.
    for part in (pipeline.vae, pipeline.unet):
        for tensor in part.parameters():
            tensor.data *= 1.01
    pipeline.save_pretrained(tmp_path / "other")
    wanted: dict[str, tuple[Path, list[str]]] = {name: (tmp_path / f"{name}.yaml", []) for name in TINY}
    for name, (path, _) in wanted.items():
        head = HEAD if "runtime" not in TINY[name] else "recipe: 1\n"
        path.write_text(f"{head}name: {name}\n{TINY[name]}", encoding="utf-8")
    demo = ["runtime.device=cpu", "runtime.threads=1", STEPS]
    wanted |= {name: (ROOT / "recipes" / f"{name}.yaml", [*demo, *more]) for name, more in DEMO.items()}
    scripts = []
    for name, (path, overrides) in wanted.items():
        options = [word for override in overrides for word in ("--set", override)]
        answer = call(capsys, "export", str(path), *options, "--to", "python", "-o", f"{tmp_path}/{name}.py")
        assert answer.status == (1 if name in LAST_BITS else 0), answer.err
        scripts.append(answer.out.strip())
    code = f"import runpy\nfor path in {scripts!r}:\n    runpy.run_path(path)\n"
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path / "cwd", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, (path, overrides) in wanted.items():
        run = recipe_runner.run_recipe(path, overrides, runs=tmp_path / "runs")
        ours, theirs = pictures(run.folder / "images"), pictures(tmp_path / "cwd" / name)
        assert list(ours) == list(theirs), name
        differing = [file for file in ours if not np.array_equal(ours[file], theirs[file])]
        if name in LAST_BITS:
            assert max(np.abs(ours[file].astype(int) - theirs[file]).max() for file in ours) <= 1
        else:
            assert differing == [], name
        if name in TINY:
            assert len({picture.tobytes() for picture in ours.values()}) == len(ours), name


def test_what_diffusers_does_otherwise_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    outline = load_file(ROOT / "recipes/demo/lora/outline-kohya.safetensors")
    first = next(name for name in outline if name.endswith(".alpha"))
    save_file({**outline, first: outline[first] * 2}, tmp_path / "mixed.safetensors")
    plain = load_file(ROOT / "recipes/demo/lora/outline.safetensors")
    save_file({f"base_model.model.{key}": tensor for key, tensor in plain.items()}, tmp_path / "peft.safetensors")
    recipe, model = tmp_path / "x.yaml", ROOT / "recipes/demo/model"
    recipe.write_text(
        f"""\
recipe: 1
name: x
base: {{model: {model}, components: {{vae: {{model: {model}/vae, dtype: bfloat16}}}}}}
adapters:
  mixed: {{kind: lora, model: mixed.safetensors}}
  peft: {{kind: lora, model: peft.safetensors}}
prompts: [{{prompt: a red star}}]
""",
        encoding="utf-8",
    )
    answer = call(capsys, "export", str(recipe), "--to", "python")
    assert answer.status == 1
    told = answer.err
    assert "error[E860]: adapter mixed: its modules have 2 different alphas" in told
    assert "adapter peft: diffusers does not apply the key layout `peft" in told
    assert "diffusers' call fails when vae has another data type (bfloat16) than the rest" in told
    assert answer.out.count("# OTHER IMAGES: ") == 3
    compile(answer.out, "x.py", "exec")


def test_a_lora_called_as_diffusers_calls_the_one_in_a_face_adapter(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    demo, recipe = ROOT / "recipes/demo", tmp_path / "x.yaml"
    recipe.write_text(
        f"""\
recipe: 1
name: x
base: {{model: {demo}/model}}
adapters:
  face:
    kind: ip_adapter
    model: {demo}/ip_adapter/ip-adapter-faceid_shapes.safetensors
    image_embeds: {demo}/inputs/star.npy
  faceid_0: {{kind: lora, model: {demo}/lora/outline.safetensors}}
prompts: [{{prompt: a red star}}]
""",
        encoding="utf-8",
    )
    answer = call(capsys, "export", str(recipe), "--to", "python")
    said = "adapter face: diffusers names the LoRA in its file faceid_0, the name of another adapter"
    assert (answer.status, said in answer.err) == (1, True), answer.err
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("faceid_0", "faceid_1"), encoding="utf-8")
    answer = call(capsys, "export", str(recipe), "--to", "python")
    assert answer.status == 0, answer.err
    assert '{"faceid_0": 1.0, "faceid_1": 1.0}' in answer.out


def test_single_files_that_diffusers_does_not_read_are_said(
    sd15_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "sd15").symlink_to(sd15_folder)
    whole = sd1_checkpoint(plain_pipeline(sd15_folder))
    prefix = "model.diffusion_model."
    save_file(
        {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}, tmp_path / "unet.safetensors"
    )
    recipe, parts = tmp_path / "x.yaml", "unet: {model: unet.safetensors}, text_encoder: {model: whole.safetensors}"
    save_file(whole, tmp_path / "whole.safetensors")
    head = "recipe: 1\nname: x\nprompts: [{prompt: a bear}]\n"
    recipe.write_text(f"{head}base: {{model: sd15, components: {{{parts}}}}}\n")
    answer = call(capsys, "export", str(recipe), "--to", "python")
    assert answer.status == 1
    assert "transformers cannot load text_encoder from a single file" in answer.err
    assert "does not know the names of tensors in unet.safetensors (input_blocks.0.0.weight)" in answer.err
    merged = {key.replace("transformer.text_model.", "transformer."): tensor for key, tensor in whole.items()}
    save_file(merged, tmp_path / "merged.safetensors")
    recipe.write_text(f"{head}base: {{model: merged.safetensors, config: sd15}}\n")
    answer = call(capsys, "export", str(recipe), "--to", "python")
    assert (answer.status, "cond_stage_model.transformer.embeddings" in answer.err) == (1, True)
