"""A whole run, stopped at every single system call that writes: the next one ends with the same bytes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import resolved
from support.power import Power
from support.records import FailingSystem, Killed

from recipe_runner.actions.run import finish
from recipe_runner.canonical import proved
from recipe_runner.disk import atomic
from recipe_runner.document.document import parse_document
from recipe_runner.plan.compile import Plan, compile_plan
from recipe_runner.problems.problem import RecordError
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.manifest import read_manifest
from recipe_runner.record.run_images import RunImages
from recipe_runner.record.store import Found
from recipe_runner.record.telemetry import read_telemetry
from recipe_runner.sources.source import Source, SourceFile

RECIPE = "recipe: 1\nname: test\nbase: {model: base}\nprompts: [{id: bear, prompt: bear}]\n"
ENVIRONMENT: dict[str, Any] = {
    "versions": {"torch": "2"},
    "device": "cpu",
    "reproducibility": "strict",
    "determinism": {},
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A prompt and two seeds on a base that is one small file."""
    return small_plan(tmp_path)


def small_plan(tmp_path: Path, **changes: Any) -> Plan:
    """A prompt and two seeds on a base that is one small file; `changes` are of the variant."""
    (tmp_path / "weights.bin").write_bytes(b"weights")
    file = SourceFile(name="weights.bin", size=7, sha256=hashlib.sha256(b"weights").hexdigest())
    source = Source(address="base", root=tmp_path, files=(file,))
    prompts = (resolved.prompt("bear"),)
    variant = resolved.variant(base=resolved.base(source=source), prompts=prompts, **changes)
    return compile_plan(resolved.recipe(variant))


def perform(plan: Plan, root: Path) -> int:
    """A run of `plan` below `root` as `run` does it, but for the pictures, made from their keys; how many were made."""
    folder = RunFolder(root / "runs", "test", plan.digest)
    with folder.locked():
        images = RunImages(parse_document(RECIPE, str(root / "recipe.yaml")), (), plan, folder)
        if images.is_complete():
            return 0
        missing = images.collect()
        images.begin(ENVIRONMENT)
        for made, image in enumerate(missing):
            seed = int(image.key[:8], 16)
            pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            images.add(image.key, pixels, on_image=lambda _: None)
            MADE.append(made)
        if missing:
            images.note_making({"total": 1.0}, {}, ())
        finish(folder, plan, images)
    return len(missing)


MADE: list[int] = []


TIMED = ("telemetry.json", "report.html", ".seal.json")
"""What says when the run was at work, and so differs from one run to the next."""


def everything(root: Path) -> dict[str, bytes]:
    """Every file below `root` that a reader may look at; of those that tell the time the name alone."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(root).as_posix(): b"" if path.name in TIMED else path.read_bytes() for path in found}


def is_complete(plan: Plan, root: Path) -> bool:
    """Whether a run of `plan` has nothing to do."""
    document = parse_document(RECIPE, str(root / "recipe.yaml"))
    return RunImages(document, (), plan, RunFolder(root / "runs", "test", plan.digest)).is_complete()


@contextmanager
def on(system: atomic.System, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(atomic, "system", system)
    try:
        yield
    finally:
        monkeypatch.setattr(atomic, "system", atomic.System())


def check_whole(plan: Plan, root: Path) -> None:
    """Nothing that a reader would believe is half written."""
    folder = RunFolder(root / "runs", "test", plan.digest)
    for image in plan.images:
        found = folder.store.get(image.key)
        assert isinstance(found, Found) or not found.damaged or "sha256" in found.reason or "bytes" in found.reason
    if (folder.path / "manifest.json").exists():
        manifest = read_manifest(folder.path / "manifest.json")
        assert len(manifest.images) == len(plan.images)


def stopping(how: str, number: int) -> Power | FailingSystem:
    """System calls that stop at the one with this number."""
    if how == "power":
        return Power(number)
    return FailingSystem(number, Killed() if how == "killed" else None, whole=True)


@pytest.mark.parametrize("how", ["full disk", "killed", "power"])
def test_stopped_at_any_call_it_goes_on_to_the_same_bytes(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    perform(plan, tmp_path / "expected")
    expected = everything(tmp_path / "expected")
    dice = random.Random(17)
    number, most = 0, 0
    while True:
        root = tmp_path / str(number)
        system = stopping(how, number)
        MADE.clear()
        try:
            with on(system, monkeypatch):
                perform(plan, root)
        except (RecordError, Killed) as error:
            assert how == "full disk" or isinstance(error, Killed)  # noqa: PT017 - the loop ends when nothing fails
        else:
            break
        if isinstance(system, Power):
            system.lose(dice)
        check_whole(plan, root)
        assert not is_complete(plan, root) or everything(root) == expected
        # What was made before is made again only where its picture did not reach the store: one at the most.
        before = len(MADE)
        again = perform(plan, root)
        most = max(most, before + again)
        assert everything(root) == expected
        assert is_complete(plan, root)
        number += 1
    assert number > 60
    assert most <= len(plan.images) + 1


DOCUMENTS = (
    "manifest.json", "recipe.yaml", "resolved.yaml", "recipe.lock.yaml", "journal.jsonl", "telemetry.json",
    "contact-sheet.png", "report.html", ".seal.json",
)  # fmt: skip
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda _: None,
    "emptied": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "a bit changed": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "more at the end": lambda data: data + b"more\n",
    "foreign": lambda _: b"\xff\x00[" * 5_000,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_of_a_complete_run_that_is_damaged_is_made_again(
    plan: Plan, tmp_path: Path, name: str, damage: str
) -> None:
    perform(plan, tmp_path)
    expected = everything(tmp_path)
    folder = RunFolder(tmp_path / "runs", "test", plan.digest).path
    # Also where nothing else proves the images any more.
    shutil.rmtree(tmp_path / "runs/store")
    data = DAMAGES[damage]((folder / name).read_bytes())
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)
    assert not is_complete(plan, tmp_path)
    assert perform(plan, tmp_path) == 0
    assert is_complete(plan, tmp_path)
    assert everything(tmp_path) == {path: data for path, data in expected.items() if "/store/" not in path}
    assert read_telemetry(folder / "telemetry.json")
    assert (folder / "report.html").read_bytes().endswith(b"</html>")


def test_a_complete_run_of_an_older_version_gets_what_it_lacks(plan: Plan, tmp_path: Path) -> None:
    perform(plan, tmp_path)
    expected = everything(tmp_path)
    folder = RunFolder(tmp_path / "runs", "test", plan.digest).path
    (folder / ".seal.json").unlink()
    for path in (folder / "journal.jsonl", *(tmp_path / "runs/store").glob("*/*.json")):
        lines = [proved(json.loads(line)) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert perform(plan, tmp_path) == 0
    assert is_complete(plan, tmp_path)
    assert everything(tmp_path) == expected


@pytest.mark.parametrize("lossless", [True, False])
def test_what_is_damaged_in_the_store_is_made_good_from_images_that_keep_every_pixel(
    tmp_path: Path, *, lossless: bool
) -> None:
    file_format = "png" if lossless else "jpeg"
    plan = small_plan(tmp_path, output={"format": file_format, "quality": None})
    perform(plan, tmp_path)
    store = RunFolder(tmp_path / "runs", "test", plan.digest).store
    first, second = (image.key for image in plan.images)
    whole = everything(tmp_path)
    store.path(first, "json").write_bytes(b"{}")
    store.path(second, file_format).write_bytes(b"")
    (RunFolder(tmp_path / "runs", "test", plan.digest).path / "report.html").unlink()
    assert perform(plan, tmp_path) == 0
    assert [isinstance(store.get(key), Found) for key in (first, second)] == [lossless, lossless]
    assert not lossless or everything(tmp_path) == whole


def test_an_unwritable_folder_is_told_and_costs_nothing(plan: Plan, tmp_path: Path) -> None:
    perform(plan, tmp_path)
    before = everything(tmp_path)
    folders = [path for path in (tmp_path, *tmp_path.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65_534)
        with pytest.raises(RecordError) as caught:
            perform(plan, tmp_path / "elsewhere")
    finally:
        os.seteuid(user)
        for folder in folders:
            folder.chmod(0o755)
    problem = caught.value.problems[0]
    assert problem.code == "E801"
    assert os.strerror(errno.EACCES) in problem.message
    assert problem.hint.startswith("You do not have permission to write there.")
    assert everything(tmp_path) == before
