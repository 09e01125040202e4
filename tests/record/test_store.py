"""The store gives back what was put, whole, or says why not."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from support.records import FailingSystem, Killed, sha256, stored_image

from recipe_runner.canonical import proved, with_digest
from recipe_runner.disk import atomic
from recipe_runner.problems.problem import RecordError
from recipe_runner.record.store import Absent, Found, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = bytes(range(256)) * 4
IMAGE = stored_image("bears", DATA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs" / "store")


def test_what_was_put_is_found(store: Store) -> None:
    assert store.get(IMAGE.node_key) == Absent(reason="not made yet")
    assert not store.root.exists()
    assert store.put(IMAGE, DATA) == Found(image=IMAGE, data=DATA)
    assert store.get(IMAGE.node_key) == Found(image=IMAGE, data=DATA)
    assert store.look_up(IMAGE.node_key) == IMAGE
    shard = store.root / IMAGE.node_key[:2]
    assert sorted(path.name for path in shard.iterdir()) == [
        ".lock",
        f"{IMAGE.node_key}.json",
        f"{IMAGE.node_key}.png",
    ]


def test_the_record_is_readable_by_others(store: Store) -> None:
    store.put(replace(IMAGE, environment=MappingProxyType({"device": "cpu"})), DATA)
    record = json.loads(store.path(IMAGE.node_key, "json").read_bytes())
    assert record["file_sha256"] == IMAGE.file_sha256
    assert record["environment"] == {"device": "cpu"}
    assert list(record) == sorted(record)


def test_the_first_of_two_makers_wins(store: Store) -> None:
    store.put(IMAGE, DATA)
    other = stored_image("bears", DATA[::-1])
    assert store.put(other, DATA[::-1]) == Found(image=IMAGE, data=DATA)
    assert store.get(IMAGE.node_key) == Found(image=IMAGE, data=DATA)


def edited_record(**changes: object) -> Callable[[Path, Path], object]:
    """A record that someone edited, its digest as it was."""
    return lambda _, record: record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))


def damaged_record(**changes: Any) -> Callable[[Path, Path], object]:
    """A record with a value that no writer gives it, under a digest of its own."""

    def damage(_: Path, record: Path) -> None:
        tree = proved(json.loads(record.read_text()))
        record.write_text(json.dumps(with_digest({**tree, **changes})))

    return damage


EDITED = "the stored record is broken (it does not match its digest)"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda picture, _: picture.unlink(), "the stored image is missing (No such file or directory)"),
        (lambda picture, _: picture.write_bytes(DATA[:-1]), "the stored image has 1023 bytes instead of 1024"),
        (
            lambda picture, _: picture.write_bytes(b"x" + DATA[1:]),
            "the stored image was changed (sha256 differs)",
        ),
        (
            lambda _, record: record.write_bytes(record.read_bytes()[:-20]),
            "the stored record is broken (Unterminated string starting at",
        ),
        (lambda _, record: record.write_bytes(b"[]"), "the stored record is broken (it is not an object)"),
        (lambda _, record: record.write_bytes(b"[" * 20_000), "the stored record is broken (nested too deeply)"),
        (edited_record(pixel_sha256=sha256("other")), EDITED),
        (edited_record(width=65), EDITED),
        (edited_record(environment={}), EDITED),
        (edited_record(inputs={"denoise.seed": 34}), EDITED),
        (edited_record(record_sha256=None), EDITED),
        (edited_record(more=1), EDITED),
        (lambda _, record: record.write_bytes(b"\xff"), "the stored record is broken ('utf-8' codec"),
        (damaged_record(more=1), "the stored record is broken (it has other keys)"),
        (damaged_record(size=True), "the stored record is broken (a value has another type)"),
        (damaged_record(size=0), "the stored record is broken (a value has another type)"),
        (damaged_record(format="../png"), "the stored record is broken (a value has another type)"),
        (damaged_record(pixel_sha256="0"), "the stored record is broken (a value has another type)"),
        (damaged_record(environment=[]), "the stored record is broken (its environment is not valid)"),
        (damaged_record(environment={}), "the stored record is broken (its environment is not valid)"),
        (damaged_record(inputs=None), "the stored record is broken (a value has another type)"),
        (damaged_record(node_key=sha256("other")), "the stored record is of another image"),
    ],
)
def test_anything_wrong_is_absent_and_made_good(
    store: Store, damage: Callable[[Path, Path], object], reason: str
) -> None:
    store.put(IMAGE, DATA)
    damage(store.path(IMAGE.node_key, "png"), store.path(IMAGE.node_key, "json"))
    found = store.get(IMAGE.node_key)
    assert isinstance(found, Absent)
    assert found.damaged
    assert found.reason.startswith(reason)
    assert store.put(IMAGE, DATA) == Found(image=IMAGE, data=DATA)
    assert store.get(IMAGE.node_key) == Found(image=IMAGE, data=DATA)


def test_a_record_of_an_older_version_proves_nothing_and_is_made_good(store: Store) -> None:
    store.put(IMAGE, DATA)
    record = store.path(IMAGE.node_key, "json")
    record.write_text(json.dumps(proved(json.loads(record.read_text()))))
    found = store.get(IMAGE.node_key)
    assert found == Absent(reason="an older version stored it, without a digest of its record")
    assert store.put(IMAGE, DATA) == Found(image=IMAGE, data=DATA)
    assert store.look_up(IMAGE.node_key) == IMAGE


def test_no_byte_of_a_record_can_change(store: Store) -> None:
    store.put(IMAGE, DATA)
    record = store.path(IMAGE.node_key, "json")
    whole = record.read_bytes()
    for place in range(len(whole) - 1):
        for other in (whole[place] ^ 1, whole[place] ^ 0x20):
            record.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            assert isinstance(store.get(IMAGE.node_key), Absent)


@pytest.mark.parametrize("error", [None, Killed()])
def test_a_put_stopped_at_any_call_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    number, whole = 0, []
    while True:
        store = Store(tmp_path / str(number))
        system = FailingSystem(number, error)
        monkeypatch.setattr(atomic, "system", system)
        try:
            store.put(IMAGE, DATA)
            stopped = False
        except (RecordError, Killed):
            stopped = True
        monkeypatch.setattr(atomic, "system", atomic.System())
        found = store.get(IMAGE.node_key)
        assert isinstance(found, Absent) or found == Found(image=IMAGE, data=DATA)
        whole.append(isinstance(found, Found))
        store.put(IMAGE, DATA)
        assert store.get(IMAGE.node_key) == Found(image=IMAGE, data=DATA)
        leftovers = [path for path in store.root.rglob("*") if path.name.endswith(atomic.LEFTOVER_SUFFIX)]
        # A picture that is whole is not touched again, and neither is what lies beside it.
        assert not leftovers
        if not stopped:
            break
        number += 1
    assert number > 10
    assert whole.index(True) >= number - 1


def test_a_store_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"a file")
    with pytest.raises(RecordError) as caught:
        Store(tmp_path / "runs" / "store").put(IMAGE, DATA)
    assert caught.value.problems[0].code == "E801"
    found = Store(tmp_path / "runs" / "store").get(IMAGE.node_key)
    assert found == Absent(reason="the store cannot be read (Not a directory)", damaged=True)


def test_a_record_of_other_bytes_is_a_bug(store: Store) -> None:
    with pytest.raises(AssertionError, match="BUG: the record"):
        store.put(IMAGE, DATA + b"x")
    with pytest.raises(AssertionError, match="BUG: no place"):
        store.get("../../etc/passwd")
