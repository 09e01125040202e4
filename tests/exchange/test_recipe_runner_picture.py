"""Our own pictures carry the recipe of their image, and import brings it back whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command import ROOT, call

import recipe_runner
from recipe_runner.api import prepare
from recipe_runner.exchange.importers.find_models import ModelFolders
from recipe_runner.exchange.importers.generation import ImportRefused
from recipe_runner.exchange.importers.importing import import_bytes
from recipe_runner.exchange.importers.recipe_text import ImportContext, ImportedRecipe
from recipe_runner.images.encode import Format, encode
from recipe_runner.images.metadata import Metadata, add_metadata, metadata_of
from recipe_runner.images.parameters_text import parameters_text
from recipe_runner.recipe.load import load_recipe
from recipe_runner.record.embedded_recipe import Carrier
from recipe_runner.record.generation import Describer

DEMO = ROOT / "recipes/demo"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp")
HERE = ImportContext(folder=Path())
BARE = {name: encode(np.zeros((64, 64, 3), np.uint8), name).data for name in FORMATS}


def picture(recipe: str, name: Format = "png", parameters: str | None = None) -> bytes:
    return add_metadata(BARE[name], name, Metadata(parameters=parameters, recipe=recipe))


def imported(data: bytes, place: ImportContext = HERE) -> ImportedRecipe:
    return import_bytes(data, "a.png", place)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_picture_imports_to_the_very_image(path: Path, tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to(DEMO)
    prepared = prepare(path)
    plan, carrier, describer = prepared.plan, Carrier(prepared.document, prepared.plan), Describer(prepared.plan)
    for number, image in enumerate((plan.images[0], plan.images[-1])):
        name = FORMATS[(number + len(path.stem)) % 3]
        text = parameters_text(describer.generation(image, 64, 64))
        found = imported(picture(carrier.text(image), name, text))
        assert (found.program, found.lost) == ("recipe_runner", ())
        (tmp_path / "again.yaml").write_text(found.text)
        (again,) = recipe_runner.compile_recipe(tmp_path / "again.yaml").images
        assert again.key == image.key


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_gives_the_recipe_back_and_keeps_the_other_texts(name: Format) -> None:
    told = Metadata(parameters="a bear\nSteps: 2", plan_digest="ab" * 32, recipe='{"recipe_runner":1}')
    data = add_metadata(BARE[name], name, told)
    assert metadata_of(data) == told
    assert data == add_metadata(BARE[name], name, told)


def recipe(tmp_path: Path, text: str) -> tuple[Any, str]:
    """What the first image of a recipe carries, and its text."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"recipe: 1\nname: a\n{text}prompts: [{{id: p, prompt: a red star}}, {{id: q, prompt: b}}]\nseeds: [3, 4]\n"
    )
    prepared = prepare(path)
    carried = Carrier(prepared.document, prepared.plan).text(prepared.plan.images[0])
    return json.loads(carried), carried


def test_it_is_the_image_alone_without_the_machine(tmp_path: Path) -> None:
    text = (
        f"base: {{model: {DEMO}/model}}\n"
        f"adapters: {{style: {{kind: lora, model: {DEMO}/lora/outline.safetensors}}}}\n"
        "matrix: {adapters.style.scale: [0.5, 1.0]}\n"
        "runtime: {device: cpu, threads: 1, allow_pickle: true, max_images: 99}\n"
    )
    tree, carried = recipe(tmp_path, text)
    assert tree["recipe"]["prompts"] == [{"id": "p", "prompt": "a red star"}]
    assert tree["recipe"]["seeds"] == [3]
    assert tree["recipe"]["adapters"]["style"]["scale"] == 0.5
    assert tree["recipe"]["runtime"] == {"threads": 1}
    assert "matrix" not in tree["recipe"]
    # Pictures are shown to others: where files lie on this disk is nobody's business.
    assert str(DEMO) not in carried
    assert tree["recipe"]["base"]["model"] == "model"


def test_files_are_found_by_their_digests(tmp_path: Path) -> None:
    text = (
        f"base: {{model: {DEMO}/model}}\n"
        f"adapters: {{style: {{kind: lora, model: {DEMO}/lora, weight_name: outline.safetensors, scale: 0.5}}}}\n"
    )
    _, carried = recipe(tmp_path, text)
    renamed = tmp_path / "models/of-mine.safetensors"
    renamed.parent.mkdir()
    renamed.write_bytes((DEMO / "lora/outline.safetensors").read_bytes())
    place = ImportContext(folder=tmp_path, base=str(DEMO / "model"), models=ModelFolders((renamed.parent,)))
    (tmp_path / "again.yaml").write_text(imported(picture(carried), place).text)
    assert load_recipe(tmp_path / "again.yaml").adapters["style"].model_dump()["model"] == "models/of-mine.safetensors"
    image = recipe_runner.compile_recipe(tmp_path / "again.yaml").images[0]
    assert image.key == recipe_runner.compile_recipe(tmp_path / "recipe.yaml").images[0].key


def stranger(**changes: Any) -> str:
    tree = {
        "recipe": 1,
        "name": "x",
        "base": {"model": "demo/model"},
        "prompts": [{"prompt": "a"}],
        "seeds": [1],
        **changes,
    }
    return json.dumps({"recipe_runner": 1, "recipe": tree, "files": {}})


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("/etc/passwd", "etc/passwd"),
        ("../../secrets/x.safetensors", "secrets/x.safetensors"),
        ("~/x.safetensors", "x.safetensors"),
        ("https://example.com/a/b.safetensors?key=1", "b.safetensors"),
        ("C:\\models\\x.safetensors", "models/x.safetensors"),
        ("x.ckpt", "x.safetensors"),
    ],
)
def test_a_stranger_s_addresses_never_leave_the_folder(address: str, kept: str) -> None:
    lora = {"kind": "lora", "model": address}
    found = imported(picture(stranger(adapters={"a": lora}, runtime={"allow_pickle": True})))
    made = load_recipe(found.text)
    assert made.adapters["a"].model_dump()["model"] == kept
    assert made.runtime.allow_pickle is False
    shown = stranger(
        adapters={"a": {"kind": "ip_adapter", "model": "m", "image": "a.png", "image_encoder": {"model": address}}},
        prompts=[{"prompt": "a", "images": {"a": [address]}}],
    )
    made = load_recipe(imported(picture(shown)).text)
    assert made.adapters["a"].model_dump()["image_encoder"]["model"] == kept
    shown_to = made.prompts[0].images["a"]
    named = shown_to if isinstance(shown_to, str) else shown_to[0]
    assert not named.startswith(("/", "~", "https:"))
    assert ".." not in named.split("/")


def test_a_pickle_is_told_and_never_allowed() -> None:
    lora = {"kind": "lora", "model": "h94/x", "weight_name": "a.bin"}
    found = imported(picture(stranger(adapters={"a": lora})))
    assert load_recipe(found.text).adapters["a"].model_dump()["weight_name"] == "a.safetensors"
    assert found.lost == (
        "a.safetensors: it is a pickled .bin file, which a recipe refuses: convert it to .safetensors",
    )


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    tree=st.dictionaries(
        st.sampled_from(["recipe", "base", "adapters", "prompts", "seeds", "sampling", "runtime", "matrix", "name"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["model", "images", "a", "kind", "image", "prompt"]), inner, max_size=3
                )
            ),
            max_leaves=8,
        ),
    ),
    files=st.dictionaries(st.sampled_from(["base", "adapters.a", "base.model.x", ""]), st.integers() | st.text()),
)
def test_any_carried_recipe_is_imported_or_refused(tree: dict[str, Any], files: dict[str, Any]) -> None:
    data = picture(json.dumps({"recipe_runner": 1, "recipe": tree, "files": files}))
    refused, found = "E854", None
    try:
        found = imported(data)
    except ImportRefused as error:
        refused = error.problems[0].code
    if found is not None:
        load_recipe(found.text)
    assert refused == "E854"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"recipe_runner": 2}', '{"recipe_runner": 1, "recipe": 3}', "[" * 9_999]
)
def test_what_is_no_recipe_of_ours_leaves_the_word_to_the_parameters(text: str) -> None:
    parameters = (
        "a bear\nSteps: 2, Seed: 3, Size: 64x64, Model: m, Other adapters: look (ip_adapter), Version: recipe_runner"
    )
    found = imported(picture(text, parameters=parameters))
    assert load_recipe(found.text).prompts[0].prompt == "a bear"
    # What the text has no word for is told, not passed over.
    assert found.lost == ("Other adapters: look (ip_adapter)",)


def test_the_parameters_name_what_they_cannot_say() -> None:
    plan = recipe_runner.compile_recipe(ROOT / "recipes/together.yaml")
    assert "Other adapters: look (ip_adapter)" in parameters_text(Describer(plan).generation(plan.images[0], 64, 64))
    plan = recipe_runner.compile_recipe(ROOT / "recipes/merge.yaml")
    assert "Other adapters: both (merge)" in parameters_text(Describer(plan).generation(plan.images[0], 64, 64))


def test_a_recipe_that_does_not_fit_a_jpeg_is_left_out() -> None:
    told = Metadata(parameters="a\nSteps: 2", recipe="x" * 70_000)
    assert metadata_of(add_metadata(BARE["jpeg"], "jpeg", told)) == Metadata(parameters="a\nSteps: 2")
    assert metadata_of(add_metadata(BARE["webp"], "webp", told)) == told


def test_batches_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(picture(stranger(runtime={"reproducibility": "fast", "device": "cuda"})))
    answer = call(capsys, "import", str(tmp_path / "a.png"))
    assert answer.status == 0
    assert "reproducibility: fast" in answer.out
    assert "device" not in answer.out
    assert "which images shared a batch" in answer.err
