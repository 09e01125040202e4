"""resolved.yaml: everything that was decided stands in it, and it runs to the same plan."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipe_runner.actions.verify import RunOrigin, portable_recipe
from recipe_runner.api import Prepared, prepare
from recipe_runner.document.document import parse_document
from recipe_runner.lock.file import Lock
from recipe_runner.recipe.types.recipe import Recipe
from recipe_runner.record.documents import resolved_yaml

RECIPES = Path(__file__).parents[2] / "recipes"
DEMO = RECIPES / "demo"


def resolved(prepared: Prepared, tmp_path: Path) -> tuple[Any, Path]:
    """The tree of a recipe's resolved.yaml, and the file in a folder of its own."""
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    recipe = Recipe.model_validate(prepared.document.tree)
    text = resolved_yaml(recipe, prepared.plan, prepared.document.folder, run)
    (run / "resolved.yaml").write_text(text)
    return yaml.safe_load(text), run / "resolved.yaml"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_it_runs_to_the_same_plan(path: Path, tmp_path: Path) -> None:
    prepared = prepare(path)
    _, written = resolved(prepared, tmp_path)
    again = prepare(written)
    assert again.plan.digest == prepared.plan.digest
    assert [image.key for image in again.plan.images] == [image.key for image in prepared.plan.images]
    assert resolved(again, tmp_path)[1].read_text() == written.read_text()


def made(tmp_path: Path, adapters: str, further: str = "") -> Prepared:
    (tmp_path / "demo").symlink_to(DEMO)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"recipe: 1\nname: a\nbase: {{model: demo/model}}\nadapters:\n{adapters}"
        f"prompts: [{{prompt: a <teal> star}}]\n{further}"
    )
    return prepare(path)


def test_a_file_a_token_and_an_image_encoder_that_were_chosen_are_written(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(DEMO / "lora/outline.safetensors", tmp_path / "one")
    prepared = made(
        tmp_path,
        "  style: {kind: lora, model: one}\n"
        "  teal: {kind: textual_inversion, model: demo, subfolder: embeddings, weight_name: teal.safetensors}\n"
        "  look: {kind: ip_adapter, model: demo/ip_adapter/ip-adapter_shapes.safetensors, "
        "image: demo/inputs/red-heart.png}\n",
    )
    tree, written = resolved(prepared, tmp_path)
    adapters = tree["adapters"]
    assert adapters["style"]["weight_name"] == "outline.safetensors"
    assert adapters["teal"]["token"] == "<teal>"  # noqa: S105
    assert (adapters["teal"]["subfolder"], adapters["teal"]["weight_name"]) == ("embeddings", "teal.safetensors")
    assert "weight_name" not in adapters["look"]
    assert adapters["look"]["image_encoder"]["subfolder"] == "image_encoder"
    assert (written.parent / adapters["look"]["image_encoder"]["model"]).resolve() == (DEMO / "ip_adapter").resolve()
    assert "shortcut" not in adapters["look"]
    assert prepare(written).plan.digest == prepared.plan.digest


def test_what_an_axis_decides_stays_open(tmp_path: Path) -> None:
    prepared = made(
        tmp_path,
        "  it: {kind: textual_inversion, model: demo/embeddings/teal.safetensors}\n",
        "matrix:\n  adapters.it.model: [demo/embeddings/teal.safetensors, demo/embeddings/brown.safetensors]\n",
    )
    tree, written = resolved(prepared, tmp_path)
    assert "token" not in tree["adapters"]["it"]
    assert prepare(written).plan.digest == prepared.plan.digest


def test_an_adapter_that_an_axis_gives_whole_is_completed_in_the_axis(tmp_path: Path) -> None:
    prepared = made(
        tmp_path,
        "  it: {kind: lora, model: demo/lora/outline.safetensors}\n",
        "matrix:\n  adapters.it:\n"
        "    - {kind: textual_inversion, model: demo/embeddings/teal.safetensors}\n"
        "    - {kind: textual_inversion, model: demo/embeddings/brown.safetensors}\n",
    )
    tree, written = resolved(prepared, tmp_path)
    assert [value["token"] for value in tree["matrix"]["adapters.it"]] == ["<teal>", "<brown>"]
    assert prepare(written).plan.digest == prepared.plan.digest


@pytest.mark.parametrize("method", ["cat", "svd", "dare_linear_svd", "ties_svd"])
def test_a_merge_gets_the_options_that_its_method_reads(method: str, tmp_path: Path) -> None:
    density = "" if method in ("cat", "svd") else ", density: 0.5"
    prepared = made(
        tmp_path,
        "  a: {kind: lora, model: demo/lora/outline.safetensors}\n"
        "  b: {kind: lora, model: demo/lora/gradient.safetensors}\n"
        f"  both: {{kind: merge, adapters: [a, b], weights: [1.0, 0.5], combination_type: {method}{density}}}\n",
    )
    tree, written = resolved(prepared, tmp_path)
    assert ("seed" in tree["adapters"]["both"]) == method.startswith("dare")
    assert ("majority_sign_method" in tree["adapters"]["both"]) == (method == "ties_svd")
    assert prepare(written).plan.digest == prepared.plan.digest


def test_a_merge_whose_method_is_an_axis(tmp_path: Path) -> None:
    prepared = made(
        tmp_path,
        "  a: {kind: lora, model: demo/lora/outline.safetensors}\n"
        "  b: {kind: lora, model: demo/lora/gradient.safetensors}\n"
        "  both: {kind: merge, adapters: [a, b], weights: [1.0, 0.5], density: 0.5, combination_type: dare_ties_svd}\n",
        "matrix: {adapters.both.combination_type: [ties_svd, dare_linear_svd]}\n",
    )
    _, written = resolved(prepared, tmp_path)
    assert prepare(written).plan.digest == prepared.plan.digest


@pytest.mark.parametrize(
    "axis",
    [
        "prompts.star.images.look: [demo/inputs/red-heart.png, [demo/inputs/yellow-star.png]]",
        "'prompts[0].images.look': [demo/inputs/red-heart.png]",
        "prompts.star.images: [{look: demo/inputs/red-heart.png}, {look: demo/inputs/green-cross.png}]",
        "prompts.star: [{id: star, prompt: b, images: {look: demo/inputs/red-heart.png}}]",
        "prompts: [[{id: star, prompt: b, images: {look: demo/inputs/red-heart.png}}], [{id: star, prompt: c}]]",
        "adapters.look.image: [demo/inputs/red-heart.png, demo/inputs/green-cross.png]",
        "adapters.look.image_encoder: [{model: demo/ip_adapter, subfolder: image_encoder}]",
        (
            "adapters: [{look: {kind: ip_adapter, model: demo/ip_adapter/ip-adapter_shapes.safetensors, "
            "image: demo/inputs/red-heart.png}}]"
        ),
        "base: [{model: demo/model}, {model: demo/dreambooth}]",
        "base.components: [{vae: {model: demo/model, subfolder: vae}}]",
    ],
)
def test_paths_in_the_values_of_any_axis_are_seen_from_the_run(axis: str, tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to(DEMO)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "recipe: 1\nname: a\nbase: {model: demo/model}\nadapters:\n"
        "  look: {kind: ip_adapter, model: demo/ip_adapter/ip-adapter_shapes.safetensors, "
        "image: demo/inputs/purple-ring.png}\n"
        "prompts: [{id: star, prompt: a, images: {look: demo/inputs/yellow-star.png}}]\n"
        f"matrix:\n  {axis}\n"
    )
    prepared = prepare(path)
    _, written = resolved(prepared, tmp_path)
    assert prepare(written).plan.digest == prepared.plan.digest
    anywhere = tmp_path / "elsewhere/recipe.yaml"
    anywhere.parent.mkdir()
    document = parse_document(written.read_bytes(), str(written))
    origin = RunOrigin(document=document, lock=Lock(lock=1, sources={}), root=None, lock_folder=None)
    anywhere.write_text(portable_recipe(written.parent, origin, ()))
    assert prepare(anywhere).plan.digest == prepared.plan.digest
