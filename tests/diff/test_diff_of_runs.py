"""Two runs are compared picture by picture, with what went in and the environment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.command import call
from support.git import Repository
from support.manifests import manifest
from support.runs import pixels, write_run

from recipe_runner.diff.compare import compare
from recipe_runner.diff.difference import Difference
from recipe_runner.diff.operand import read_side
from recipe_runner.record.manifest import manifest_bytes


def difference(old: str = "a", new: str = "b") -> Difference:
    return compare(read_side(old), read_side(new))


def test_equal_runs_are_the_same() -> None:
    for name in ("a", "b"):
        write_run(Path(name))
    found = difference()
    assert found.same
    assert {pair.verdict for pair in found.pairs} == {"identical"}
    assert found.changes == ()


def test_pictures_that_differ_are_measured() -> None:
    shifted = pixels(0)
    shifted[0, 0, 0] ^= 16
    write_run(Path("a"))
    write_run(Path("b"), {0: shifted, 1: pixels(1, (32, 32))})
    first, second, *rest = difference().pairs
    assert (first.verdict, first.measure and first.measure.max_abs) == ("different", 16)
    assert first.measure is not None
    assert first.measure.psnr == pytest.approx(10 * np.log10(255**2 * 48 * 64 * 3 / 256))
    assert first.measure.ssim is not None
    assert 0.9 < first.measure.ssim < 1
    # Node keys and environment are the same: nobody knows a reason.
    assert first.reasons == ("neither the inputs nor the environment",)
    assert second.measure is not None
    assert (second.measure.max_abs, second.measure.reason) == (None, "64x48 and 32x32 pixels")
    assert {pair.verdict for pair in rest} == {"identical"}


def test_equal_pixels_in_another_file_are_the_same() -> None:
    write_run(Path("a"))
    made = write_run(Path("b"))
    images = (made.images[0].model_copy(update={"file_sha256": "0" * 64}), *made.images[1:])
    Path("b/manifest.json").write_bytes(manifest_bytes(made.model_copy(update={"images": images})))
    found = difference()
    assert found.pairs[0].verdict == "equal pixels"
    assert found.same


def test_a_picture_that_was_changed_after_the_run_is_not_measured() -> None:
    write_run(Path("a"))
    write_run(Path("b"), {0: pixels(9)})
    name = manifest().images[0].path
    (Path("b") / name).write_bytes((Path("a") / name).read_bytes())
    pair = difference().pairs[0]
    assert (pair.verdict, pair.measure) == ("different", None)
    assert pair.new is not None
    assert pair.new.file is None


def test_inputs_and_environment_that_differ_are_the_reasons() -> None:
    here = manifest().environment
    other = here.model_copy(update={"versions": {**here.versions, "torch": "2.14.0+cpu"}})
    old = write_run(Path("a"))
    new = write_run(Path("b"), {1: pixels(50)}, steps=12, environment=other)
    moved = (new.images[0], new.images[1].model_copy(update={"node_key": "f" * 64}), *new.images[2:7])
    Path("b/manifest.json").write_bytes(manifest_bytes(new.model_copy(update={"images": moved})))
    assert old.images[1].node_key != moved[1].node_key
    found = difference()
    assert [(change.path, change.old, change.new) for change in found.changes] == [
        ("sampling.num_inference_steps", 10, 12),
        ("environment.versions.torch", "2.13.0+cpu", "2.14.0+cpu"),
    ]
    assert found.pairs[1].reasons == (
        "environment.versions.torch: 2.13.0+cpu → 2.14.0+cpu",
        "sampling.num_inference_steps: 10 → 12",
    )
    assert [pair.verdict for pair in found.pairs].count("only in A") == 1
    assert not found.same


def test_manifests_that_lie_in_git(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    folder = repository.path / "results"
    write_run(folder)
    repository.git("add", "results/manifest.json", "results/resolved.yaml")
    repository.git("commit", "-qm", "first")
    for image in folder.glob("images/*"):
        image.unlink()
    (folder / "images").rmdir()
    (folder / "manifest.json").unlink()
    write_run(folder, {3: pixels(70)}, steps=11)
    with repository.inside():
        for operand in ("HEAD:results/manifest.json", "HEAD:results"):
            answer = call(capsys, "diff", operand, "results", "--format", "json")
            assert answer.status == 1
            tree = json.loads(answer.out)
            assert [change["path"] for change in tree["changes"]] == ["sampling.num_inference_steps"]
            assert [image["verdict"] for image in tree["images"]].count("different") == 1
            assert tree["images"][3]["max_abs"] is None, "the old picture is not in git"


def test_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("a"))
    write_run(Path("b"), {0: pixels(20)})
    answer = call(capsys, "diff", "a", "b")
    assert answer.status == 1
    assert "8 images: 7 identical, 1 different\n" in answer.out
    assert "bears, seed 33, cereal.scale 0.0: different; max abs " in answer.out
    assert call(capsys, "diff", "a", "b", "--format", "markdown").out.count("different") == 2


def test_what_a_manifest_says_does_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bell = "\x1b]0;title\x07"
    environment = manifest().environment.model_copy(update={"versions": {f"torch{bell}": f"2{bell}"}})
    write_run(Path("a"))
    made = write_run(Path("b"), environment=environment)
    update = {"variant": {f"a{bell}": bell}, "prompt": bell, "file_sha256": "0" * 64, "pixel_sha256": "0" * 64}
    images = tuple(image.model_copy(update=update) for image in made.images)
    Path("b/manifest.json").write_bytes(manifest_bytes(made.model_copy(update={"images": images})))
    for output_format in ("human", "markdown", "github"):
        out = call(capsys, "diff", "a", "b", "--format", output_format).out
        assert "environment.versions.torch" in out.replace("\\", "")
        assert "8 different" in out
        assert "\x1b" not in out
        assert "\x07" not in out


def test_a_manifest_that_is_none_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("a"))
    Path("b").mkdir()
    Path("b/manifest.json").write_text('{"manifest": 1}')
    answer = call(capsys, "diff", "a", "b")
    assert (answer.status, "error[E804]" in answer.err) == (3, True)
