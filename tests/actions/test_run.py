"""Runs from a recipe file to a run folder, on a real pipeline made tiny."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from safetensors.torch import load_file, save_file
from support.command import ROOT, call, process, start
from support.tiny import sd15_folder

import recipe_runner
from recipe_runner.images.metadata import read_metadata

if TYPE_CHECKING:
    from recipe_runner.actions.run import Run

__all__ = ["sd15_folder"]

RECIPE = """\
recipe: 1
name: try-it
base: {{model: {model}}}
prompts:
  - {{id: bear, prompt: a red bear, negative_prompt: blurry}}
  - {{id: film, prompt: film photo of a circle}}
seeds: [1, 2]
sampling: {{num_inference_steps: 2, guidance_scale: 5.0, height: 16, width: 16}}
runtime: {{device: cpu, threads: 1}}
"""
NAMES = ["bear-1.png", "bear-2.png", "film-1.png", "film-2.png"]


@pytest.fixture
def recipe(sd15_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(model=sd15_folder))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder that must not depend on when and how it was made; the report tells the timings."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("telemetry.json", "journal.jsonl", "report.html", ".lock", ".seal.json")
    }


def manifest(run: Run) -> Any:
    return json.loads((run.folder / "manifest.json").read_bytes())


def test_a_run_leaves_everything_the_design_promises(recipe: Path) -> None:
    run = recipe_runner.run_recipe(recipe)
    assert (run.made, run.reused) == (4, 0)
    assert run.folder == Path("runs/try-it") / run.plan_digest[:12]
    assert sorted(path.name for path in run.folder.iterdir() if not path.name.startswith(".")) == [
        "contact-sheet.png", "images", "journal.jsonl", "manifest.json", "recipe.lock.yaml", "recipe.yaml",
        "report.html", "resolved.yaml", "telemetry.json",
    ]  # fmt: skip
    assert sorted(path.name for path in (run.folder / "images").iterdir()) == NAMES
    assert (run.folder / "recipe.yaml").read_bytes() == recipe.read_bytes()
    told = manifest(run)
    Draft202012Validator(json.loads((ROOT / "schemas/manifest.v1.schema.json").read_text())).validate(told)
    assert told["status"] == "complete"
    assert [image["path"] for image in told["images"]] == [f"images/{name}" for name in NAMES]
    assert str(recipe.parent) not in (run.folder / "manifest.json").read_text().replace(
        told["sources"][0]["address"], ""
    )


def test_a_device_that_is_not_there_is_told_at_its_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(recipe.read_text().replace("device: cpu", "device: cuda:99"))
    answer = call(capsys, "run", str(recipe))
    assert answer.status == 3
    assert f"{recipe}:9:19: error[E701]: there is no device `cuda:99`" in answer.err


def test_what_was_asked_is_known_of_axes_that_hold_paths(
    recipe: Path, sd15_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # In resolved.yaml their values are written as seen from the run folder.
    for name in ("one", "two"):
        (recipe.parent / name).symlink_to(sd15_folder)
    text = recipe.read_text().replace(str(sd15_folder), "one").replace("seeds: [1, 2]", "seeds: [1]")
    recipe.write_text(text + "matrix: {base.model: [one, two]}\n")
    run = recipe_runner.run_recipe(recipe, ["sampling.guidance_scale=4"])
    rows = json.loads(call(capsys, "runs", "show", str(run.folder), "--format", "json").out)["images"]
    assert [(row["base.model"], row["prompt"], row["sampling.guidance_scale"]) for row in rows] == [
        (model, prompt, 4.0) for model in ("one", "two") for prompt in ("a red bear", "film photo of a circle")
    ]
    assert "film photo of a circle" in (run.folder / "report.html").read_text().partition("<h2")[0]
    other = recipe_runner.run_recipe(recipe, ["sampling.guidance_scale=3"])
    told = call(capsys, "diff", str(run.folder), str(other.folder)).out
    assert told.count("because of sampling.guidance_scale: 4.0 → 3.0") == 4


def test_telemetry_says_how_long_each_image_took(recipe: Path) -> None:
    run = recipe_runner.run_recipe(recipe)
    (made,) = json.loads((run.folder / "telemetry.json").read_bytes())["invocations"]
    assert list(made["image_seconds"]) == [f"images/{name}" for name in NAMES]
    assert all(seconds > 0 for seconds in made["image_seconds"].values())
    shares = made["seconds"]
    # Nothing of an image's own time is left out, and nothing counts twice.
    own = sum(seconds for name, seconds in shares.items() if name != "total")
    assert own <= sum(made["image_seconds"].values()) <= shares["total"]


def test_a_prompt_that_is_too_long_is_told_once_and_before_anything_is_made(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(recipe.read_text().replace("film photo of a circle", " ".join(["film photo"] * 60)))
    answer = call(capsys, "run", str(recipe))
    lines = answer.err.splitlines()
    assert [number for number, line in enumerate(lines) if "[W751]" in line] == [0]
    telemetry = json.loads(next(Path("runs").glob("*/*/telemetry.json")).read_bytes())
    (told,) = telemetry["invocations"][0]["warnings"]
    assert lines[0] == f"warning: {told}"
    again = call(capsys, "run", str(recipe), "--format", "json", "--runs", "again")
    assert json.loads(again.out)["warnings"] == [told]


def test_pictures_are_those_of_the_plain_pipeline(recipe: Path, sd15_folder: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    run = recipe_runner.run_recipe(recipe)
    pipeline = StableDiffusionPipeline.from_pretrained(sd15_folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a red bear",
        negative_prompt="blurry",
        num_inference_steps=2,
        guidance_scale=5.0,
        height=16,
        width=16,
        generator=torch.Generator("cpu").manual_seed(2),
    ).images[0]
    with Image.open(run.folder / "images/bear-2.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(expected))


def test_the_report_names_a_command_that_makes_an_image_again(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe_runner.run_recipe(recipe, ["matrix={sampling.guidance_scale: [5.0, 7.0]}"])
    page = (run.folder / "report.html").read_text()
    assert "denoise" in page
    answer = call(capsys, "run", f"{run.folder}/resolved.yaml", "--only", "002-bear-2.png", "--runs", "again")
    assert answer.status == 0
    again = Path(answer.out.strip())
    (image,) = json.loads((again / "manifest.json").read_text())["images"]
    wanted = next(image for image in manifest(run)["images"] if image["path"] == "images/002-bear-2.png")
    assert [image[name] for name in ("node_key", "pixel_sha256", "variant")] == [
        wanted[name] for name in ("node_key", "pixel_sha256", "variant")
    ]
    assert str(again).startswith("again/")


def test_pictures_carry_their_parameters_and_plan(recipe: Path) -> None:
    run = recipe_runner.run_recipe(recipe)
    found = read_metadata(run.folder / "images/bear-2.png")
    assert found.plan_digest == run.plan_digest
    assert found.parameters is not None
    first, second, last = found.parameters.split("\n")
    assert (first, second) == ("a red bear", "Negative prompt: blurry")
    assert last.startswith("Steps: 2, Sampler: ")
    assert ", CFG scale: 5, Seed: 2, Size: 16x16, " in last
    assert found.recipe is not None
    carried = json.loads(found.recipe)["recipe"]
    assert ([prompt["id"] for prompt in carried["prompts"]], carried["seeds"]) == (["bear"], [2])


def test_an_unchanged_recipe_makes_and_writes_nothing_and_needs_no_torch(recipe: Path, tmp_path: Path) -> None:
    run = recipe_runner.run_recipe(recipe)
    stamps = {
        path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock"
    }
    # A torch that cannot be imported stands in front of the real one.
    blocked = tmp_path / "blocked"
    for name in ("torch", "diffusers", "transformers", "peft"):
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text("raise ImportError('not in this test')\n")
    answer = process("run", str(recipe), PYTHONPATH=f"{blocked}:{ROOT}")
    assert (answer.status, answer.out) == (0, f"{run.folder}\n"), answer.err
    assert "0 made, 4 reused" in answer.err
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    for command in ("validate", "plan"):
        assert process(command, str(recipe), PYTHONPATH=f"{blocked}:{ROOT}").status == 0


def test_an_edited_recipe_makes_only_what_changed(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = recipe_runner.run_recipe(recipe)
    recipe.write_text(recipe.read_text().replace("film photo", "photo"))
    plan = call(capsys, "plan", str(recipe)).out
    assert "images: 2 made, 2 to make" in plan
    assert (
        "film-1.png: to make: changed: encode_prompt.texts.prompt: film photo of a circle → photo of a circle" in plan
    )
    second = recipe_runner.run_recipe(recipe)
    assert (second.made, second.reused) == (2, 2)
    assert [(action.path, action.action, action.why) for action in second.actions] == [
        ("images/bear-1.png", "reused", "nothing it depends on changed (it is in the store)"),
        ("images/bear-2.png", "reused", "nothing it depends on changed (it is in the store)"),
        ("images/film-1.png", "made", second.actions[2].why),
        ("images/film-2.png", "made", second.actions[2].why),
    ]
    assert second.actions[2].why.startswith("changed: encode_prompt.texts.prompt: film photo of a circle → photo of")
    told = call(capsys, "run", str(recipe), "--verbose", "--set", "seeds=[1, 3]").err
    assert "images/bear-1.png: reused: nothing it depends on changed (it is in the store)" in told
    assert "images/film-3.png: to make: no earlier run made this prompt, seed and variant" in told
    assert first.folder != second.folder
    old, new = manifest(first)["images"], manifest(second)["images"]
    assert [a["pixel_sha256"] == b["pixel_sha256"] for a, b in zip(old, new, strict=True)] == [True, True, False, False]
    # Each run's picture says which plan it belongs to, so the files differ where the pixels do not.
    assert read_metadata(second.folder / "images/bear-1.png").plan_digest == second.plan_digest


def test_resolved_yaml_runs_by_itself_to_the_same_plan(recipe: Path) -> None:
    run = recipe_runner.run_recipe(recipe)
    before = contents(run.folder)
    again = recipe_runner.run_recipe(run.folder / "resolved.yaml")
    assert (again.plan_digest, again.made) == (run.plan_digest, 0)
    assert contents(run.folder) == before


def test_overrides_are_recorded_and_written_out(recipe: Path) -> None:
    run = recipe_runner.run_recipe(recipe, ["seeds=[7]", "sampling.guidance_scale=1"])
    told = manifest(run)
    assert told["overrides"] == ["seeds=[7]", "sampling.guidance_scale=1"]
    assert [image["seed"] for image in told["images"]] == [7, 7]
    assert "guidance_scale: 1.0" in (run.folder / "resolved.yaml").read_text()
    assert recipe_runner.compile_recipe(run.folder / "resolved.yaml").digest == run.plan_digest


def test_lost_and_damaged_images_come_back_from_the_store_with_the_same_bytes(recipe: Path) -> None:
    run = recipe_runner.run_recipe(recipe)
    before = contents(run.folder)
    (run.folder / "images/bear-1.png").unlink()
    (run.folder / "images/bear-2.png").write_bytes(b"half")
    (run.folder / "manifest.json").unlink()
    again = recipe_runner.run_recipe(recipe)
    assert again.made == 0
    assert contents(run.folder) == before


def test_a_damaged_store_is_made_anew_with_the_same_bytes(recipe: Path) -> None:
    run = recipe_runner.run_recipe(recipe)
    before = contents(run.folder)
    for path in Path("runs/store").glob("*/*.png"):
        path.write_bytes(path.read_bytes()[:-10])
    for path in (run.folder / "images").iterdir():
        path.unlink()
    again = recipe_runner.run_recipe(recipe)
    assert again.made == 4
    assert contents(run.folder) == before


def test_a_failed_run_keeps_what_was_finished_and_says_so(recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + "matrix: {sampling.guidance_scale: [5.0, 1.0e+38]}\n")
    with pytest.raises(recipe_runner.RecipeRunnerError) as caught:
        recipe_runner.run_recipe(recipe)
    (problem,) = caught.value.problems
    assert problem.line > 0
    (folder,) = Path("runs/try-it").iterdir()
    told = json.loads((folder / "manifest.json").read_bytes())
    assert told["status"] == "failed"
    assert told["failure"]["message"] == problem.message
    assert len(told["images"]) == 4


def test_a_base_that_cannot_be_loaded_is_told_at_the_line_of_the_base(recipe: Path, sd15_folder: Path) -> None:
    model = shutil.copytree(sd15_folder, recipe.parent / "spoilt")
    weights = model / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if name != "encoder.conv_in.bias"}, weights)
    recipe.write_text(RECIPE.format(model=model))
    with pytest.raises(recipe_runner.RecipeRunnerError) as caught:
        recipe_runner.run_recipe(recipe)
    (problem,) = caught.value.problems
    assert (problem.code, problem.place.source_line) == ("E501", f"base: {{model: {model}}}")


def test_a_missing_device_is_told_before_anything_is_made(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    answer = call(capsys, "run", str(recipe), "--device", "cuda")
    assert answer.status == 3
    assert "error[E7" in answer.err
    assert "cpu" in answer.err


def test_what_is_not_on_this_machine_can_be_planned_and_not_run(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(recipe.read_text().replace("base: {model: ", "base: {model: somebody/model} #"))
    plan = call(capsys, "plan", str(recipe))
    assert plan.status == 0
    assert "provisional: not on this machine yet: base" in plan.out
    run = call(capsys, "run", str(recipe))
    assert run.status == 3
    assert "error[E402]: base: somebody/model: not in the local Hub cache" in run.err


def test_two_runs_at_once_do_not_mix(recipe: Path) -> None:
    from recipe_runner.record.folder import RunFolder

    plan = recipe_runner.compile_recipe(recipe)
    with RunFolder(Path("runs"), "try-it", plan.digest).locked():
        answer = process("run", str(recipe))
    assert answer.status == 3
    assert "error[E803]" in answer.err


def test_a_run_killed_at_any_moment_goes_on_and_ends_with_the_same_bytes(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("seeds: [1, 2]", "seeds: {start: 0, count: 20}"))
    whole = recipe_runner.run_recipe(recipe, runs="whole")
    dice = random.Random(4)
    kills = 0
    for _ in range(3):
        running = start("run", str(recipe), "--runs", "killed", "--quiet")
        target = len(list(Path("killed").glob("try-it/*/images/*.png"))) + dice.randint(1, 8)
        deadline = time.monotonic() + 120
        while running.poll() is None and time.monotonic() < deadline:
            if len(list(Path("killed").glob("try-it/*/images/*.png"))) >= target:
                time.sleep(dice.random() * 0.05)
                running.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        running.communicate()
    assert kills >= 1
    assert len(list(Path("killed").glob("try-it/*/images/*.png"))) < 40
    ended = recipe_runner.run_recipe(recipe, runs="killed")
    assert ended.reused > 0
    assert contents(Path("killed") / ended.folder.relative_to("killed")) == contents(whole.folder)


def test_an_interrupted_run_says_so_and_keeps_what_was_finished(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("seeds: [1, 2]", "seeds: {start: 0, count: 400}"))
    running = start("run", str(recipe), "--quiet")
    deadline = time.monotonic() + 120
    while not list(Path("runs").glob("try-it/*/images/*.png")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err == "interrupted; finished work is kept\n"
    assert "made" in process("plan", str(recipe)).out


def test_plans_are_the_same_bytes_everywhere(recipe: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    answers = [
        process("plan", str(recipe), "--format", "json", cwd=cwd, PYTHONHASHSEED=seed, LC_ALL=locale)
        for cwd, seed, locale in ((tmp_path, "0", "C"), (other, "1", "C.UTF-8"), (tmp_path, "99", "POSIX"))
    ]
    assert [answer.status for answer in answers] == [0, 0, 0]
    assert answers[0].out == answers[1].out == answers[2].out
    assert json.loads(answers[0].out)["to_make"] == 4


@pytest.mark.parametrize("output_format", ["mermaid", "dot"])
def test_graphs_are_drawn(recipe: Path, capsys: pytest.CaptureFixture[str], output_format: str) -> None:
    recipe.write_text(recipe.read_text().replace("a red bear", 'a "red" <bear>'))
    answer = call(capsys, "plan", str(recipe), "--format", output_format)
    assert answer.status == 0
    assert answer.out.count("encode_prompt") == 2
    assert answer.out.count("denoise") == 4
    assert ("&lt;bear&gt;" in answer.out) == (output_format == "mermaid")


def test_the_answer_of_run_as_json(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "run", str(recipe), "--format", "json")
    assert answer.status == 0
    told = json.loads(answer.out)
    assert (told["made"], told["reused"], told["images"]) == (4, 0, [f"images/{name}" for name in NAMES])
    assert "torch" in sys.modules


def test_the_package_offers_its_names() -> None:
    for name in recipe_runner.__all__:
        assert getattr(recipe_runner, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = recipe_runner.nothing
