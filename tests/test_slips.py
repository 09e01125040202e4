"""What a newcomer gets wrong about files and paths: each slip is told at its place, with what to write instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.command import call

from recipe_runner.actions.check_weights import weights_problems
from recipe_runner.lock.unpinned import movable_sources
from recipe_runner.problems.problem import Problem
from recipe_runner.recipe.load import find_problems

DEMO = Path(__file__).parents[1] / "recipes/demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "demo").symlink_to(DEMO)
    (tmp_path / "empty").mkdir()
    return tmp_path


def adapter(folder: Path, text: str, base: str = "demo/model", further: str = "") -> Path:
    path = folder / "recipe.yaml"
    path.write_text(
        f"recipe: 1\nname: a\nbase:\n  model: {base}\nadapters:\n  it:\n    {text}\n"
        f"prompts: [{{id: star, prompt: a star}}]\n{further}"
    )
    return path


def told(path: Path) -> Problem:
    (problem,) = weights_problems(path)
    return problem


def place(problem: Problem) -> str:
    """What the caret underlines."""
    return problem.place.source_line[problem.column - 1 :][: problem.place.width]


@pytest.mark.parametrize(
    ("text", "code", "underlined", "hint"),
    [
        (
            "{kind: lora, model: demo/lora/outlin.safetensors}",
            "E401",
            "demo/lora/outlin.safetensors",
            "did you mean out",
        ),
        ("{kind: lora, model: demo/lora, weight_name: x.safetensors}", "E401", "x.safetensors", "did you mean"),
        ("{kind: lora, model: demo, subfolder: loras}", "E401", "loras", "did you mean lora?"),
        ("{kind: lora, model: demo/model}", "E404", "demo/model", "it is a pipeline folder: name it as `base.model`"),
        ("{kind: lora, model: ./nothing/x.pt}", "E401", "./nothing/x.pt", "there is no nothing in .; "),
        ("{kind: lora, model: empty/x.safetensors}", "E401", "empty/x.safetensors", "that folder is empty"),
        (
            r"{kind: lora, model: demo\lora\outline.safetensors}",
            "E401",
            r"demo\lora\outline.safetensors",
            "write it with `/`: demo/lora/outline.safetensors",
        ),
        (
            "{kind: lora, model: demo/embeddings/teal.safetensors}",
            "E602",
            "demo/embeddings/teal.safetensors",
            "this is a textual inversion: use `kind: textual_inversion`",
        ),
        (
            "{kind: lora, model: demo/ip_adapter/ip-adapter_shapes.safetensors}",
            "E602",
            "demo/ip_adapter/ip-adapter_shapes.safetensors",
            "this is an IP-Adapter: use `kind: ip_adapter`",
        ),
        (
            "{kind: lora, model: demo/model/unet/diffusion_pytorch_model.safetensors}",
            "E602",
            "demo/model/unet/diffusion_pytorch_model.safetensors",
            "this is a UNet alone: name it under `base.components.unet`",
        ),
        (
            "{kind: textual_inversion, model: demo/lora/outline.safetensors, token: star}",
            "E621",
            "demo/lora/outline.safetensors",
            "this is a LoRA: use `kind: lora`",
        ),
        (
            "{kind: ip_adapter, model: demo/lora/gradient-lokr.safetensors, image: demo/inputs/red-heart.png}",
            "E640",
            "demo/lora/gradient-lokr.safetensors",
            "this is a LyCORIS file: use `kind: lora`",
        ),
        (
            "{kind: ip_adapter, model: demo/ip_adapter/image_encoder, image: demo/inputs/red-heart.png}",
            "E640",
            "demo/ip_adapter/image_encoder",
            "this is an image encoder",
        ),
        (
            "{kind: lora, model: demo/lora/outline.safetensors, scale: {unet: {down: {block_9: 1.0}}}}",
            "E611",
            "block_9",
            "the down blocks with attentions are block_1, block_2",
        ),
        (
            "{kind: lora, model: demo/lora/gradient.safetensors, scale: {text_encoder: 0.5}}",
            "E613",
            "text_encoder",
            "it has unet",
        ),
        ("{kind: lora, model: demo/lora/outline-kohya.safetensors, alpha: 4}", "E609", "4", "remove `alpha`"),
        (
            "{kind: lora, model: demo/lora/gradient.safetensors, target: text_encoder}",
            "E602",
            "text_encoder",
            "change or",
        ),
    ],
)
def test_a_slip_about_an_adapter_is_told_at_its_place(
    folder: Path, text: str, code: str, underlined: str, hint: str
) -> None:
    problem = told(adapter(folder, text))
    assert (problem.code, place(problem)) == (code, underlined)
    assert problem.hint.startswith(hint)


def test_a_block_of_an_axis_is_told_at_the_value_of_the_axis(folder: Path) -> None:
    axis = "matrix:\n  adapters.it.scale:\n    - 1.0\n    - {unet: {up: 0.5}}\n    - {unet: {up: {block_7: 0.5}}}\n"
    problem = told(adapter(folder, "{kind: lora, model: demo/lora/outline.safetensors}", further=axis))
    assert (problem.code, problem.line, place(problem)) == ("E611", 13, "block_7")


@pytest.mark.parametrize(
    ("base", "code", "hint"),
    [
        ("demo", "E416", "there is one in demo/dreambooth and demo/model"),
        ("demo/model/unet", "E416", "it is the folder of one component: name the folder above it"),
        ("demo/model/model_index.json", "E405", "write `model: demo/model`"),
    ],
)
def test_a_base_that_is_not_the_pipeline_folder(folder: Path, base: str, code: str, hint: str) -> None:
    problem = told(adapter(folder, "{kind: lora, model: demo/lora/outline.safetensors}", base))
    assert (problem.code, place(problem)) == (code, base)
    assert problem.hint.startswith(hint)


def test_an_image_encoder_named_by_the_folder_above_it(folder: Path) -> None:
    text = (
        "{kind: ip_adapter, model: demo/ip_adapter/ip-adapter_shapes.safetensors, image: demo/inputs/red-heart.png, "
        "image_encoder: {model: demo/ip_adapter}}"
    )
    problem = told(adapter(folder, text))
    assert (problem.code, problem.hint) == ("E416", "there is one in image_encoder/: name it with `subfolder`")


def test_a_misspelt_folder_that_reads_as_a_hub_repository(folder: Path) -> None:
    path = adapter(folder, "{kind: lora, model: demo/loras}")
    told = find_problems(path, further=movable_sources)
    hint = "it was taken for a Hub repository, because there is no such folder beside the recipe; did you mean lora/?"
    assert [(problem.code, problem.hint) for problem in told] == [("W430", hint)]
    (unchecked,) = weights_problems(path)
    assert (unchecked.code, unchecked.hint) == ("W762", hint)


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("http://example.com/a.safetensors", "give a path, a Hub id or an https URL"),
        ("https://huggingface.co/a/b", "write `model: a/b`"),
        ("https://huggingface.co/a/b/tree/dev", "write `model: a/b` and `revision: dev`"),
        (
            "https://huggingface.co/a/b/blob/main/c/d.safetensors",
            "write `model: a/b`, `revision: main` and `weight_name: c/d.safetensors`",
        ),
        *(
            (f"https://{host}/models/12345/x", "write the address of its download button, which has /api/download/")
            for host in ("civitai.com", "www.civitai.com", "civitai.red", "civitai.green")
        ),
    ],
)
def test_the_address_of_a_page_is_told_without_a_network(folder: Path, address: str, hint: str) -> None:
    path = adapter(folder, f"{{kind: lora, model: '{address}'}}")
    (problem,) = find_problems(path, further=movable_sources)
    assert (problem.code, place(problem)) == ("E405", f"'{address}'")
    assert problem.hint.startswith(hint)


def test_addresses_of_files_are_let_pass(folder: Path) -> None:
    for address in (
        "https://huggingface.co/a/b/resolve/main/c.safetensors",
        "https://civitai.com/api/download/models/1",
    ):
        path = adapter(folder, f"{{kind: lora, model: '{address}'}}")
        assert [problem.code for problem in find_problems(path, further=movable_sources)] == ["W430"]


def test_a_folder_without_permission_is_no_bug(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may read everything, so what the system says is put in its place.
    monkeypatch.setattr(os, "access", lambda *_: False)
    problem = told(adapter(folder, "{kind: lora, model: demo/lora/outline.safetensors}"))
    assert (problem.code, problem.message) == ("E415", "demo/model: the folder cannot be read: Permission denied")


def test_a_token_that_a_file_names_and_a_prompt_misspells(folder: Path) -> None:
    path = adapter(folder, "{kind: textual_inversion, model: demo/embeddings/teal.safetensors}")
    path.write_text(path.read_text().replace("a star", "a <tael> star"))
    problem = told(path)
    assert problem.code == "W331"
    assert problem.hint.startswith("Is `<tael>` meant to be it? ")


def test_a_recipe_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "quickstart.yaml").touch()
    answer = call(capsys, "plan", str(folder / "quickstrat.yaml"))
    assert answer.status == 3
    assert f"Did you mean `{folder / 'quickstart.yaml'}`?" in answer.err


def test_a_picture_is_no_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "validate", str(DEMO / "inputs/red-heart.png"))
    assert answer.status == 1
    assert "the file is an image, not a recipe" in answer.out
    assert "`recipe-runner import` makes recipes of images." in answer.out


@pytest.mark.parametrize("command", [["verify"], ["runs", "show"], ["report"]])
def test_a_run_that_is_not_there(command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, *command, str(folder / "nothing"))
    assert (answer.status, "run folder not found" in answer.err) == (3, True)
    answer = call(capsys, *command, str(folder / "empty"))
    assert (answer.status, "is not a run folder: it has no manifest.json" in answer.err) == (3, True)
    assert "`recipe-runner runs list` shows them." in answer.err
