"""Timings are appended, and a damaged file is begun anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recipe_runner.record.telemetry import Invocation, append_telemetry, read_telemetry

if TYPE_CHECKING:
    from pathlib import Path


def invocation(made: int) -> Invocation:
    return Invocation(
        started="2026-11-22T23:00:00Z",
        made=made,
        reused=1,
        seconds={"denoise": 1.23456789},
        image_seconds={"images/bears-33.png": 2.0},
        host={"name": "here", "processors": 2},
        warnings=["a prompt is long"],
    )


def test_invocations_are_appended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.json"
    assert read_telemetry(path) == []
    append_telemetry(path, invocation(1))
    append_telemetry(path, invocation(2))
    found = read_telemetry(path)
    assert [entry["made"] for entry in found] == [1, 2]
    assert found[0] == {
        "started": "2026-11-22T23:00:00Z",
        "made": 1,
        "reused": 1,
        "seconds": {"denoise": 1.234568},
        "image_seconds": {"images/bears-33.png": 2.0},
        "host": {"name": "here", "processors": 2},
        "warnings": ["a prompt is long"],
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"telemetry": 2, "invocations": [{}]}',
        b"[" * 20_000,
        *(
            b'{"telemetry": 1, "invocations": [%s]}' % entry
            for entry in (
                b"1",
                b'{"started": 1}',
                b'{"made": "1"}',
                b'{"seconds": []}',
                b'{"seconds": {"denoise": "1"}}',
                b'{"seconds": {"denoise": 1e999}}',
                b'{"image_seconds": {"a": true}}',
                b'{"host": []}',
                b'{"warnings": {}}',
                b'{"warnings": ["\\ud800"]}',
            )
        ),
    ],
)
def test_a_damaged_file_is_begun_anew(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "telemetry.json"
    path.write_bytes(data)
    append_telemetry(path, invocation(3))
    assert [entry["made"] for entry in read_telemetry(path)] == [3]
