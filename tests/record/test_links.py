"""A run folder that a stranger made: no link in it is read, written or deleted through."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command import call
from support.records import PLAN, journal_entry, run_folder, stored_image
from support.runs import write_run

from recipe_runner.problems.problem import RecordError
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.names import DOCUMENTS

PRIVATE = "MY PRIVATE WORDS"


@pytest.fixture
def run() -> Path:
    """A run folder with eight pictures, and a private file beside the runs."""
    folder = Path(f"runs/cereal-or-film/{PLAN[:12]}")
    write_run(folder)
    Path("private").write_text(PRIVATE)
    return folder


def linked(run: Path, name: str) -> None:
    """A link to the private file in the place of a file of the run."""
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(Path("private").absolute())


COMMANDS = (
    ("report", "--embed", "--output", "page.html"),
    ("report", "--output", "page.html"),
    ("verify",),
    ("runs", "show"),
    ("manifest",),
    ("manifest", "--format", "ro-crate"),
)


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("name", [*DOCUMENTS, "images/bears-33-0.0.png"])
def test_no_reader_follows_a_link_out(
    run: Path, name: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    linked(run, name)
    command, *options = words
    answer = call(capsys, command, *options, str(run))
    page = Path("page.html").read_text() if Path("page.html").is_file() else ""
    assert answer.status == 1
    assert "E805" in answer.err + answer.out
    assert PRIVATE not in answer.out + answer.err + page


@pytest.mark.parametrize("name", ["manifest.json", "resolved.yaml", "images/bears-33-0.0.png"])
def test_a_comparison_follows_none_either(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("other"), steps=11)
    linked(run, name)
    answer = call(capsys, "diff", "other", str(run))
    # 1 would say that they differ.
    assert answer.status == 3
    assert "E805" in answer.err
    assert PRIVATE not in answer.out + answer.err


def test_a_folder_of_images_elsewhere_is_not_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(run / "images", "elsewhere")
    (run / "images").symlink_to(Path("elsewhere").absolute())
    answer = call(capsys, "report", "--embed", str(run), "--output", "page.html")
    assert (answer.status, Path("page.html").exists()) == (1, False)
    assert "is a symbolic link that leads out of" in answer.err


def test_a_listing_tells_of_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linked(run, "recipe.yaml")
    answer = call(capsys, "runs", "list")
    assert "unreadable" in answer.out
    assert "symbolic link" in answer.out


def test_a_runs_folder_behind_a_link_and_links_within_it_are_read(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "images/bears-33-0.0.png").rename(run / "own.png")
    (run / "images/bears-33-0.0.png").symlink_to("../own.png")
    Path("runs").rename("big-disk")
    Path("runs").symlink_to("big-disk")
    assert call(capsys, "report", "--embed", str(run), "--output", "page.html").status == 0


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_run_writes_in_no_folder_elsewhere(depth: int, tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    place = [folder.path / "images", folder.path, folder.path.parent][depth]
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="E805"), folder.locked():
        pass
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["journal.jsonl", ".lock", "manifest.json", "telemetry.json", "report.html"])
def test_no_document_is_written_through_a_link(name: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    folder.path.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text(PRIVATE)
    (folder.path / name).symlink_to(victim)

    def write() -> None:
        with folder.locked():
            folder.journal.append([journal_entry("a.png", b"picture")])
            folder.write(name.lstrip("."), b"other")

    with pytest.raises(RecordError, match=r"E80[15]"):
        write()
    assert victim.read_text() == PRIVATE


def test_an_image_takes_the_place_of_a_link(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text(PRIVATE)
    with folder.locked():
        (folder.path / "images/a.png").symlink_to(victim)
        sha256 = folder.write_image("a.png", b"picture")
        assert folder.image_fault("images/a.png", sha256) is None
    assert victim.read_text() == PRIVATE
    assert not (folder.path / "images/a.png").is_symlink()


def test_the_store_is_not_written_through_a_link_in_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs", "a", PLAN)
    image = stored_image("a.png", b"a")
    (tmp_path / "elsewhere").mkdir()
    folder.store.root.mkdir(parents=True)
    (folder.store.root / image.node_key[:2]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="E805"):
        folder.store.put(image, b"a")
    assert not list((tmp_path / "elsewhere").iterdir())
