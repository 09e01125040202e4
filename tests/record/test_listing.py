"""Runs are listed, their images told as rows, and what nobody uses is deleted."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from support.command import call
from support.manifests import manifest
from support.records import PLAN, journal_entry, run_folder, stored_image

from recipe_runner.record.folder import RunFolder
from recipe_runner.record.gc import YOUNG_SECONDS
from recipe_runner.record.manifest import manifest_bytes

RESOLVED = """\
recipe: 1
name: cereal-or-film
base: {model: m}
adapters: {cereal: {kind: lora, model: c.safetensors, scale: {unet: 0.5}}}
prompts: [{id: bears, prompt: two bears}, {id: cat, prompt: a cat, negative_prompt: blurry}]
seeds: [33, 34]
sampling: {num_inference_steps: 10}
matrix: {adapters.cereal.scale: [0.0, 0.5]}
"""


@pytest.fixture
def run() -> Path:
    """A run folder in `runs`, with a manifest, a resolved recipe and one picture of the store that is its own."""
    folder = run_folder(Path())
    with folder.locked():
        told = manifest()
        folder.write("manifest.json", manifest_bytes(told))
        folder.write("resolved.yaml", RESOLVED.encode())
        folder.write_image("a.png", b"picture")
        folder.journal.append([journal_entry("a.png", b"picture")])
    for name in ("a.png", "b.png"):
        folder.store.put(stored_image(name, name.encode()), name.encode())
    return folder.path


def age(root: Path, seconds: float) -> None:
    past = time.time() - seconds
    for path in root.rglob("*"):
        os.utime(path, (past, past))


def test_runs_are_listed_with_what_became_of_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut_off = run.with_name("0" * 12)
    cut_off.mkdir()
    (cut_off / "journal.jsonl").write_bytes((run / "journal.jsonl").read_bytes())
    broken = run.with_name("1" * 12)
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    lines = call(capsys, "runs", "list").out.splitlines()
    assert lines[0].startswith(f"{cut_off}  unfinished  1 image  ")
    assert lines[1].startswith(f"{broken}  unreadable  0 images  ")
    assert lines[2].startswith("  not a manifest: not JSON")
    assert lines[3].startswith(f"{run}  complete  8 images  ")
    assert lines[3].endswith("  --set sampling.num_inference_steps=10")
    told = json.loads(call(capsys, "runs", "list", "--format", "json").out)["runs"]
    assert [each["status"] for each in told] == ["unfinished", "unreadable", "complete"]
    assert told[2]["plan_digest"] == PLAN
    answer = call(capsys, "runs", "list", "--runs", "nowhere")
    assert (answer.status, answer.out, answer.err) == (0, "", "no runs found in nowhere\n")


def test_the_images_of_a_run_are_rows(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(call(capsys, "runs", "show", str(run), "--format", "csv").out)))
    assert len(rows) == 8
    cat = next(row for row in rows if row["prompt_id"] == "cat" and row["seed"] == "34")
    assert (cat["prompt"], cat["negative_prompt"], cat["sampling.num_inference_steps"]) == ("a cat", "blurry", "10")
    assert {row["adapters.cereal.scale"] for row in rows} == {"0.0", "0.5"}
    assert all(len(row["pixel_sha256"]) == len(row["node_key"]) == 64 for row in rows)
    told = json.loads(call(capsys, "runs", "show", str(run), "--format", "json").out)["images"]
    assert list(told[0]) == list(rows[0])
    text = call(capsys, "runs", "show", str(run)).out.splitlines()
    assert "sampling.num_inference_steps: 10" in text
    assert text[-8].split()[:3] == [told[0]["path"], "bears", "33"]
    # An axis of paths is written otherwise in the resolved recipe, which lies elsewhere.
    axis = RESOLVED.replace("matrix: {", "matrix: {base.model: [../../../a/m], ")
    (run / "resolved.yaml").write_text(axis)
    (run / "recipe.yaml").write_text(RESOLVED.replace("matrix: {", "matrix: {base.model: [a/m], "))
    told = manifest()
    moved = [image.model_copy(update={"variant": {"base.model": "a/m", **image.variant}}) for image in told.images]
    (run / "manifest.json").write_bytes(manifest_bytes(told.model_copy(update={"images": tuple(moved)})))
    rows = list(csv.DictReader(io.StringIO(call(capsys, "runs", "show", str(run), "--format", "csv").out)))
    assert (rows[0]["base.model"], rows[0]["prompt"]) == ("a/m", "two bears")
    # Without the recipe the manifest's own part is told.
    (run / "resolved.yaml").unlink()
    rows = list(csv.DictReader(io.StringIO(call(capsys, "runs", "show", str(run), "--format", "csv").out)))
    assert "prompt" not in rows[0]
    assert rows[0]["prompt_id"] == "bears"
    assert call(capsys, "runs", "show", "nowhere").status == 3


def test_only_old_pictures_that_no_run_uses_are_deleted_and_only_when_asked(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Path("runs/store")
    before = sorted(store.rglob("*"))
    assert call(capsys, "gc").out == "runs/store: 0 files to delete, 0 B\n"
    (store / "ab").mkdir(exist_ok=True)
    (store / f"ab/.{'ab' * 32}.png.0123456789ab.part").write_bytes(b"left")
    age(store, YOUNG_SECONDS + 60)
    answer = call(capsys, "gc", "--verbose")
    assert answer.out.endswith("runs/store: 3 files to delete, " + answer.out.rsplit(", ", 1)[1])
    assert answer.out.count(": no run uses it\n") == 2
    assert "a temporary file of a killed run" in answer.out
    assert {*before} <= {*store.rglob("*")}
    told = json.loads(call(capsys, "gc", "--delete", "--format", "json").out)
    assert (len(told["files"]), told["deleted"]) == (3, True)
    kept = [path.stem for path in store.rglob("*.png")]
    assert kept == [stored_image("a.png", b"a.png").node_key]
    shutil.rmtree(run)
    age(store, YOUNG_SECONDS + 60)
    call(capsys, "gc", "--delete")
    assert not list(store.rglob("*.png"))


def test_only_files_of_the_stores_own_form_are_deleted_and_none_through_a_link(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "ab" * 32
    store, other = Path("runs/store"), Path("other")
    foreign = [store / "ab/notes.txt", store / "ab/.mine.part", store / f"abc/{key}.png", store / "readme.txt",
               other / f"{key}.png", other / f"{key}.json", other / "ab" / f"{key}.png"]  # fmt: skip
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    age(Path("runs"), YOUNG_SECONDS + 60)
    age(other, YOUNG_SECONDS + 60)
    (store / "cd").symlink_to(other.absolute())
    (store / "ab" / f"{key}.png").symlink_to((other / f"{key}.png").absolute())
    call(capsys, "gc", "--delete")
    assert [path for path in foreign if not path.is_file()] == []
    assert [path.stem for path in store.rglob("*.png") if not path.is_symlink() and path.parent.name != "abc"] == [
        stored_image("a.png", b"a.png").node_key
    ]
    assert run.is_dir()


def test_what_another_runs_folder_needs_of_a_shared_store_is_kept(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("second").mkdir()
    Path("second/store").symlink_to(Path("runs/store").absolute())
    folder = RunFolder(Path("second"), "b", PLAN)
    with folder.locked():
        folder.write_image("b.png", b"picture")
        folder.journal.append([journal_entry("b.png", b"picture")])
    pictures = sorted(Path("runs/store").rglob("*.png"))
    assert len(pictures) == 2
    age(Path("runs"), YOUNG_SECONDS + 60)
    for runs in ("runs", "second"):
        assert call(capsys, "gc", "--delete", "--runs", runs).status == 0
        assert sorted(Path("runs/store").rglob("*.png")) == pictures
    shutil.move("second", "away")
    for runs in ("runs", "away"):
        answer = call(capsys, "gc", "--delete", "--runs", runs)
        assert answer.status == 3
        assert "error[E813]: the store is shared with " in answer.err
    (note,) = Path("runs/store/.users").iterdir()
    note.unlink()
    call(capsys, "gc", "--delete")
    assert [path.stem for path in Path("runs/store").rglob("*.png")] == [stored_image("a.png", b"a.png").node_key]
    assert run.is_dir()


def test_a_run_that_cannot_be_read_keeps_everything(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    age(Path("runs"), YOUNG_SECONDS + 60)
    (run / "manifest.json").write_bytes(b"{")
    (run / "journal.jsonl").unlink()
    pictures = sorted(Path("runs/store").rglob("*.png"))
    answer = call(capsys, "gc", "--delete")
    assert answer.status == 3
    assert "cannot determine which images of the store" in answer.err
    assert sorted(Path("runs/store").rglob("*.png")) == pictures


def test_downloads_that_are_used_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from recipe_runner.sources.url.cache import UrlRecord, downloaded_path, record_bytes, record_path, urls_folder
    from recipe_runner.sources.url.find import find_url

    monkeypatch.setenv("RECIPE_RUNNER_CACHE", str(tmp_path / "cache"))
    paths = {}
    for name in ("used", "unused"):
        sha256 = {"used": "a", "unused": "b"}[name] * 64
        given = UrlRecord(url=f"https://example.org/{name}", name="w.safetensors", size=4, sha256=sha256)
        paths[name] = downloaded_path(given.sha256, given.name)
        for path, data in ((paths[name], name.encode()[:4]), (record_path(given.url), record_bytes(given))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (urls_folder() / "incoming").mkdir()
    (urls_folder() / "incoming/x.part").write_bytes(b"begun")
    age(urls_folder(), 40 * 86_400)
    stamp = paths["used"].stat().st_mtime_ns
    assert find_url("https://example.org/used") == paths["used"]
    assert paths["used"].stat().st_mtime_ns == stamp
    assert call(capsys, "gc", "--downloads", "--unused-days", "50").out.startswith("downloads: 0 files")
    assert call(capsys, "gc", "--downloads", "--delete").out.startswith("downloads: 3 files deleted, ")
    assert [path.read_bytes() for path in urls_folder().rglob("*.safetensors")] == [b"used"]
    assert not paths["unused"].parent.exists()
