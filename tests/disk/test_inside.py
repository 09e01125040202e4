"""Where files below a folder lie: no name and no symbolic link leads out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipe_runner.disk.atomic import append
from recipe_runner.disk.inside import inside, is_plain_path
from recipe_runner.disk.lock import hold_lock
from recipe_runner.problems.problem import RecordError

BAD = ("", "/etc/passwd", "..", "../x", "a/../b", "a/..", ".", "./a", "a//b", "a/", "a\0b", "a\nb", "b\n", "..\\x",
       "a\\b", "C:/x", "c:x", "x/" + "y" * 256, "é" * 128, "\udcff")  # fmt: skip
GOOD = ("a", ".hidden", "a/b.safetensors", "...", "a b/ü.json", "y" * 255, "ab:c", "unet/x..y")


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    assert not is_plain_path(name)
    with pytest.raises(RecordError, match="E805"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", GOOD)
def test_a_plain_name_stays(name: str, tmp_path: Path) -> None:
    assert is_plain_path(name)
    assert inside(tmp_path, name) == tmp_path / name


def test_links_out_are_refused_and_links_within_are_not(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "own").mkdir(parents=True)
    other.mkdir()
    (root / "out").symlink_to(other)
    (root / "within").symlink_to("own")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (root / "own" / "up").symlink_to("../../other")
    (tmp_path / "linked").symlink_to(root)
    assert inside(root, "within/x") == root / "within" / "x"
    assert inside(tmp_path / "linked", "own/x") == tmp_path / "linked" / "own" / "x"
    for name in ("out/x", "out", "dangling", "own/up/x"):
        with pytest.raises(RecordError, match="symbolic link that leads out"):
            inside(root, name)
    # A rename puts the file in the link's place.
    assert inside(root, "dangling", replaced=True) == root / "dangling"
    with pytest.raises(RecordError):
        inside(root, "out/x", replaced=True)


def test_what_is_appended_to_or_locked_is_no_link(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("my own")
    link.symlink_to(victim)
    with pytest.raises(RecordError, match="E801"):
        append(link, b"x", 0)
    with pytest.raises(RecordError, match="E801"), hold_lock(link, wait=True):
        pass
    assert victim.read_text() == "my own"
