"""The journal keeps every whole line, whatever happened to the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.records import FailingSystem, Killed, journal_entry

from recipe_runner.canonical import proved, with_digest
from recipe_runner.disk import atomic
from recipe_runner.problems.problem import RecordError
from recipe_runner.record.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = tuple(journal_entry(f"bears-{seed}.png", b"picture %d" % seed) for seed in range(3))


def test_entries_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert Journal(path).read() == ()
    journal = Journal(path)
    journal.append(ENTRIES[:1])
    journal.append(ENTRIES[1:])
    journal.append(())
    assert Journal(path).read() == ENTRIES
    assert path.read_bytes().count(b"\n") == 3


def test_several_entries_take_one_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(atomic.System):
        flushes = 0

        def flush(self, descriptor: int) -> None:
            self.flushes += 1
            super().flush(descriptor)

    Journal(tmp_path / "j").append(ENTRIES[:1])
    system = Counting()
    monkeypatch.setattr(atomic, "system", system)
    Journal(tmp_path / "j").append(ENTRIES[1:])
    assert system.flushes == 1


def test_a_line_torn_at_any_byte_is_dropped_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append(ENTRIES)
    whole = path.read_bytes()
    first_two = len(b"".join(whole.splitlines(keepends=True)[:2]))
    for length in range(first_two, len(whole)):
        path.write_bytes(whole[:length])
        assert Journal(path).read() == ENTRIES[:2]
        Journal(path).append(ENTRIES[2:])
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    [b"", b"\xff\xfe", b"null", b"{}", b'{"path": 1}', b"{" * 50, b"\0" * 200, b"[" * 20_000],
)
def test_a_line_that_is_no_entry_is_skipped(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append(ENTRIES[:1])
    path.write_bytes(line + b"\n" + path.read_bytes())
    Journal(path).append(ENTRIES[1:])
    assert Journal(path).read() == ENTRIES


@pytest.mark.parametrize(
    "change",
    [
        {"size": "1"},
        {"size": True},
        {"width": 0},
        {"node_key": None},
        {"pixel_sha256": "0"},
        {"environment": 1},
        {"environment": {}},
    ],
)
def test_an_entry_with_a_value_of_another_type_is_skipped(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append(ENTRIES[:1])
    path.write_text(json.dumps(with_digest({**proved(json.loads(path.read_text())), **change})) + "\n")
    assert Journal(path).read() == ()


@pytest.mark.parametrize("change", [{"pixel_sha256": "0" * 64}, {"width": 65}, {"more": 1}, {"record_sha256": 1}])
def test_an_edited_line_is_skipped(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append(ENTRIES[:1])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}) + "\n")
    assert Journal(path).read() == ()


@pytest.mark.parametrize("damage", [b"torn", b"null\n", b"\n", b'{"path": 1}\n'])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_writer_takes_out_of_the_file_what_is_no_entry(tmp_path: Path, damage: bytes, place: int) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append(ENTRIES)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:place]) + damage + b"".join(lines[place:]))
    kept = Journal(path).recover()
    # What is damaged joins the line after it when it has no end of its own.
    assert [*kept] == [entry for entry in ENTRIES if damage != b"torn" or entry != (*ENTRIES, None)[place]]
    assert path.read_bytes() == b"".join(lines[ENTRIES.index(entry)] for entry in kept)


def test_the_last_line_of_an_image_counts(tmp_path: Path) -> None:
    again = replace(ENTRIES[0], size=99)
    Journal(tmp_path / "j").append((*ENTRIES, again))
    assert Journal(tmp_path / "j").read() == (again, *ENTRIES[1:])


@pytest.mark.parametrize("error", [None, Killed()])
def test_an_append_stopped_at_any_call_loses_nothing_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    number = 0
    while True:
        journal = Journal(tmp_path / f"j{number}")
        journal.append(ENTRIES[:1])
        monkeypatch.setattr(atomic, "system", FailingSystem(number, error))
        try:
            journal.append(ENTRIES[1:2])
            stopped = False
        except (RecordError, Killed):
            stopped = True
        monkeypatch.setattr(atomic, "system", atomic.System())
        assert journal.read() in (ENTRIES[:1], ENTRIES[:2])
        if not stopped:
            break
        # The same process may go on, and a new one too.
        if ENTRIES[1] not in journal.read():
            journal.append(ENTRIES[1:2])
        Journal(journal.path).append(ENTRIES[2:])
        assert journal.read() == ENTRIES
        number += 1
    assert number > 3


def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        Journal(tmp_path).read()
    assert str(caught.value) == f"{tmp_path}: error[E802]: cannot read {tmp_path}: Is a directory"
