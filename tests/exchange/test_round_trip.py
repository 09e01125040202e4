"""What is exported, or stands in this package's own pictures, imports back to a recipe of the same pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command import ROOT, call

import recipe_runner
from recipe_runner.exchange.importers.find_models import ModelFolders
from recipe_runner.exchange.importers.importing import import_bytes
from recipe_runner.exchange.importers.recipe_text import ImportContext
from recipe_runner.images.encode import Format, encode
from recipe_runner.images.metadata import Metadata, add_metadata
from recipe_runner.images.parameters_text import parameters_text
from recipe_runner.recipe.load import load_recipe
from recipe_runner.record.generation import Describer

DEMO = ROOT / "recipes" / "demo"
HERE = ImportContext(folder=Path())
RECIPE = f"""\
recipe: 1
name: mine
base: {{model: {DEMO}/model, scheduler: {{class: DPMSolverMultistepScheduler, config: {{use_karras_sigmas: true, algorithm_type: dpmsolver++}}}}}}
adapters:
  outline: {{kind: lora, model: {DEMO}/lora/outline.safetensors, scale: 0.75}}
  kohya: {{kind: lora, model: {DEMO}/lora/outline-kohya.safetensors, scale: {{unet: 0.5, text_encoder: 0.25}}}}
prompts: [{{prompt: "a (red) star, [blue] \\\\ 熊", negative_prompt: "(blurry:1.2)"}}]
seeds: [18446744073709551615, 7]
sampling: {{num_inference_steps: 9, guidance_scale: 4.5, height: 64, width: 64, clip_skip: 1}}
"""  # noqa: E501 - one line of YAML


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
def test_a_picture_of_ours_imports_to_the_plan_that_made_it(recipe: Path, name: Format, tmp_path: Path) -> None:
    plan = recipe_runner.compile_recipe(recipe)
    describer = Describer(plan)
    place = ImportContext(folder=tmp_path, base=str(DEMO / "model"), models=ModelFolders((DEMO,)))
    keys: list[str] = []
    for image in plan.images:
        text = parameters_text(describer.generation(image, 64, 64))
        bare = encode(np.zeros((64, 64, 3), np.uint8), name).data
        imported = import_bytes(add_metadata(bare, name, Metadata(parameters=text)), "a.png", place)
        # The adapters were found by their digests: their files are not called as the recipe calls them.
        assert imported.lost == ()
        path = tmp_path / f"{image.seed}.yaml"
        path.write_text(imported.text, encoding="utf-8")
        keys += [each.key for each in recipe_runner.compile_recipe(path).images]
    assert keys == [image.key for image in plan.images]


def test_a1111_s_text_says_what_it_can(recipe: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = call(capsys, "export", str(recipe), "--to", "a1111", "-o", f"{tmp_path}/texts")
    assert answer.status == 0
    assert answer.out.split() == [
        f"{tmp_path}/texts/prompt-1-18446744073709551615.txt",
        f"{tmp_path}/texts/prompt-1-7.txt",
    ]
    text = (tmp_path / "texts" / "prompt-1-7.txt").read_text(encoding="utf-8")
    first, second, third = text.splitlines()
    # A1111 reads brackets as emphasis, so they are escaped: the words are what the recipe says.
    assert first == r"a \(red\) star, \[blue\] \\ 熊 <lora:outline:0.75> <lora:kohya:0.25:0.5>"
    assert second == r"Negative prompt: \(blurry:1.2\)"
    assert third.startswith("Steps: 9, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, Seed: 7, Size: 64x64")
    back = load_recipe(import_bytes(text.encode(), "x.txt", HERE).text)
    assert back.prompts[0].prompt == "a (red) star, [blue] \\ 熊"
    assert back.prompts[0].negative_prompt == "(blurry:1.2)"
    assert (back.seeds, back.sampling.clip_skip) == ((7,), 1)


def test_a_comfyui_graph_has_a_sampler_for_each_picture(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "export", str(recipe), "--to", "comfyui", "--format", "json")
    tree = json.loads(answer.out)
    graph: dict[str, Any] = json.loads(tree["texts"][0]["text"])
    kinds = [node["class_type"] for node in graph.values()]
    assert sorted(set(kinds)) == [
        "CLIPSetLastLayer", "CLIPTextEncode", "DiffusersLoader", "EmptyLatentImage", "KSampler", "LoraLoader",
        "SaveImage",
        "VAEDecode",
    ]  # fmt: skip
    # Everything but sampler, decoder and file is shared.
    assert [kinds.count(kind) for kind in ("KSampler", "SaveImage", "LoraLoader", "CLIPTextEncode")] == [2, 2, 2, 2]
    for node in graph.values():
        for value in node["inputs"].values():
            assert not isinstance(value, list) or value[0] in graph
    sampler = next(node["inputs"] for node in graph.values() if node["class_type"] == "KSampler")
    assert (sampler["sampler_name"], sampler["scheduler"], sampler["seed"]) == ("dpmpp_2m", "karras", 2**64 - 1)
    assert [problem["code"] for problem in tree["problems"]] == ["W851", "W851"]
    back = load_recipe(import_bytes(tree["texts"][0]["text"].encode(), "x.json", HERE).text)
    assert (back.prompts[0].prompt, back.prompts[0].negative_prompt) == ("a (red) star, [blue] \\ 熊", "(blurry:1.2)")
    assert (back.seeds, back.sampling.guidance_scale, back.sampling.clip_skip) == ((2**64 - 1,), 4.5, 1)
    assert next(adapter.scale for adapter in back.adapters.values() if adapter.kind == "lora") == 0.75


def test_what_comfyui_and_a1111_cannot_say_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = str(ROOT / "recipes" / "lora-blocks.yaml")
    comfyui = call(capsys, "export", blocks, "--to", "comfyui", "--set", "sampling.eta=0.5")
    assert "adapter outline: ComfyUI has no scales for single blocks, so 1.0 is written" in comfyui.err
    assert "sampling.eta: ComfyUI's sampler has no equivalent" in comfyui.err
    a1111 = call(capsys, "export", blocks, "--to", "a1111", "--set", "sampling.guidance_rescale=0.5")
    assert "adapter outline: A1111 has no scales for single blocks" in a1111.err
    assert "sampling.guidance_rescale: A1111 has no equivalent" in a1111.err
    foreign = call(capsys, "export", blocks, "--to", "comfyui", "--set", "base.pipeline=StableDiffusionPAGPipeline")
    assert foreign.status == 1
    assert "error[E861]: ComfyUI has no nodes for StableDiffusionPAGPipeline" in foreign.err


def test_embeddings_go_by_the_names_of_their_files(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(ROOT / "recipes" / "negative-embedding.yaml")
    a1111 = call(capsys, "export", recipe, "--to", "a1111", "--set", "seeds=[1]")
    assert "Negative prompt: bad-shape\n" in a1111.out
    assert 'TI hashes: "bad-shape: ' in a1111.out
    comfyui = call(capsys, "export", recipe, "--to", "comfyui", "--set", "seeds=[1]")
    assert '"text": "embedding:bad-shape"' in comfyui.out
    back = load_recipe(import_bytes(comfyui.out.encode(), "x.json", HERE).text)
    assert [adapter.kind for adapter in back.adapters.values()] in ([], ["textual_inversion"])


def test_a_size_that_is_a_guess_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(ROOT / "recipes" / "hub" / "negative-embedding.yaml")
    for target in ("a1111", "comfyui"):
        answer = call(capsys, "export", recipe, "--to", target)
        assert "so its own size is not known: 1024x1024 is written" in answer.err
        sized = call(capsys, "export", recipe, "--to", target, "--set", "sampling={height: 512, width: 768}")
        assert "its own size" not in sized.err
