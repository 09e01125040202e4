"""The demo model shows what its prompts say, and its LoRA does what it is for: measured on the pictures of recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.command import ROOT
from support.demo import DEMO, PINNED, picture
from training.judge import interior_fill, judge

import recipe_runner

if TYPE_CHECKING:
    from recipe_runner.actions.run import Run


def prompts(run: Run) -> dict[str, str]:
    """The prompts of a run by id, as its resolved recipe has them."""
    recipe: Any = recipe_runner.load_recipe(run.folder / "resolved.yaml")
    return {prompt.id: prompt.prompt for prompt in recipe.prompts}


@pytest.fixture(scope="module")
def scales(tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs = tmp_path_factory.mktemp("runs")
    return recipe_runner.run_recipe(ROOT / "recipes/lora-scale.yaml", PINNED, runs=runs)


def test_the_quickstart_shows_what_its_prompts_say() -> None:
    path = ROOT / "recipes/quickstart.yaml"
    run = recipe_runner.run_recipe(path, PINNED)
    texts = prompts(run)
    images = recipe_runner.compile_recipe(path, PINNED).images
    assert len(images) == 8
    for image in images:
        # "a large yellow star on a blue background"
        _, size, colour, shape, _, _, background, _ = texts[image.prompt].split()
        seen = judge(picture(run, image))
        assert (seen.size, seen.colour, seen.shape, seen.background) == (size, colour, shape, background), image.path


def test_the_outline_grows_with_the_scale(scales: Run) -> None:
    plan = recipe_runner.compile_recipe(ROOT / "recipes/lora-scale.yaml", PINNED)
    texts = prompts(scales)
    fills: dict[str, list[float]] = {}
    for image in plan.images:
        shape = texts[image.prompt].split()[3]
        fills.setdefault(image.prompt, []).append(interior_fill(picture(scales, image), shape))
    for none, half, full in fills.values():
        assert none > 0.8
        assert none > half > full
        assert full < 0.5


def test_scale_zero_is_the_base_to_the_last_bit(scales: Run) -> None:
    base = recipe_runner.run_recipe(ROOT / "recipes/lora-scale.yaml", [*PINNED, "adapters={}", "matrix={}"])
    pixels = [
        [image["pixel_sha256"] for image in json.loads((run.folder / "manifest.json").read_bytes())["images"]]
        for run in (base, scales)
    ]
    assert pixels[0] == pixels[1][: len(pixels[0])]


def test_both_key_layouts_of_the_lora_make_the_same_pictures() -> None:
    found = []
    for name in ("outline", "outline-kohya"):
        model = f"adapters.outline.model={DEMO}/lora/{name}.safetensors"
        run = recipe_runner.run_recipe(ROOT / "recipes/lora-scale.yaml", [*PINNED, model, "matrix={}"])
        manifest = json.loads((run.folder / "manifest.json").read_bytes())
        found.append([image["pixel_sha256"] for image in manifest["images"]])
        tensors = manifest["adapters"][0]["tensors"]
        assert all(count["matched"] == count["total"] > 0 for count in tensors.values())
    assert found[0] == found[1]


def test_the_model_is_small() -> None:
    files = [path for path in (DEMO / "model").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files if path.suffix == ".safetensors") <= 12_000_000
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".ckpt", ".py")]


def test_what_is_committed_is_small() -> None:
    large = [path for path in DEMO.rglob("*") if path.is_file() and path.stat().st_size > 12_000_000]
    assert large == [], [Path(path).name for path in large]
