"""Files at https URLs: streamed, resumed, proved, and kept by their contents."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.hub import files
from support.hub_server import HubServer
from support.power import Power
from support.records import FailingSystem, Killed
from support.safetensors_bytes import whole

from recipe_runner.disk import atomic
from recipe_runner.problems.problem import RecipeRunnerError, RecordError
from recipe_runner.sources.access import Access, Pin, reach
from recipe_runner.sources.find import find_weights
from recipe_runner.sources.source import Address, Source, SourceFile
from recipe_runner.sources.url import download
from recipe_runner.sources.url.cache import plain_name, urls_folder

__all__ = ["files"]

WEIGHTS = whole({"a.weight": (1400, 1000)})
"""2.8 MB: several blocks."""
OTHER = whole({"b.weight": (1400, 1000)})


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been waited, in seconds; nothing is."""
    waited: list[float] = []
    monkeypatch.setattr(download, "sleep", waited.append)
    return waited


def online(**options: object) -> AbstractContextManager[None]:
    return reach(Access(network=True, **options))  # type: ignore[arg-type]


def bring(url: str, **options: object) -> Source:
    with online(**options):
        return find_weights(Address(url), folder=Path())


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RecipeRunnerError) as caught:
        call()
    (problem,) = caught.value.problems
    return f"{problem.code} {problem.message} | {problem.hint}"


def pinned(url: str, name: str, data: bytes) -> dict[tuple[str, None], Pin]:
    file = SourceFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    return {(url, None): Pin(commit=None, files=(file,))}


def test_a_file_is_downloaded_once_and_found_without_the_network(
    files: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = files.put("models/style.safetensors", WEIGHTS)
    source = bring(url)
    assert (source.address, source.files[0].name, source.files[0].size) == (url, "style.safetensors", len(WEIGHTS))
    assert source.digest == hashlib.sha256(WEIGHTS).hexdigest()
    assert source.root == urls_folder() / source.digest

    def never(*_: object) -> None:
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket, "socket", never)
    assert bring(url) == find_weights(Address(url), folder=Path()) == source
    assert files.asked("style") == 1
    assert refusal(lambda: find_weights(Address(f"{url}x"), folder=Path())).startswith(
        f"E403 {url}x: not downloaded yet"
    )


def test_the_server_names_the_file(files: HubServer) -> None:
    files.put("real", WEIGHTS, headers={"Content-Disposition": 'attachment; filename="my style (v2).safetensors"'})
    url = files.put("api/download/123", b"", redirect=f"{files.url}/files/real")
    assert bring(f"{url}?type=Model").files[0].name == "my_style__v2_.safetensors"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a/b.safetensors", "b.safetensors"),
        ("..", "download"),
        ("", "download"),
        ("c:\\x\\.y.bin", "y.bin"),
        ("ä b", "__b"),
    ],
)
def test_names_are_plain(given: str, name: str) -> None:
    assert plain_name(given) == name


def test_a_connection_that_drops_is_resumed_where_it_stopped(files: HubServer, waits: list[float]) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    files.fail("w.safetensors", drop_after=1_500_000, times=1)
    files.fail("w.safetensors", drop_after=1_000_000, times=1)
    assert bring(url).digest == hashlib.sha256(WEIGHTS).hexdigest()
    assert files.sent("w.safetensors") < len(WEIGHTS) + 2 * (1 << 20)
    ranges = [request.range for request in files.requests]
    assert ranges[0] is None
    assert all(each is not None and each.startswith("bytes=") for each in ranges[1:])
    assert waits == [1.0, 1.0]


def test_a_download_goes_on_in_another_process(files: HubServer, waits: list[float]) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    files.fail("w.safetensors", drop_after=2_000_000)
    files.fail("w.safetensors", status=503, times=100)
    assert refusal(lambda: bring(url)).startswith(
        f"E436 {url}: cannot be downloaded (the server answers with status 503)"
    )
    assert len(waits) == download.ATTEMPTS - 1
    files.faults.clear()
    before = files.sent("w.safetensors")
    assert bring(url).digest == hashlib.sha256(WEIGHTS).hexdigest()
    assert 0 < files.sent("w.safetensors") - before < len(WEIGHTS) - 1_000_000


def test_a_file_that_changed_meanwhile_begins_anew(files: HubServer) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    files.fail("w.safetensors", drop_after=2_000_000)
    files.fail("w.safetensors", status=503, times=4)
    with pytest.raises(RecipeRunnerError):
        bring(url)
    files.put("w.safetensors", OTHER)
    assert bring(url).digest == hashlib.sha256(OTHER).hexdigest()


def test_a_disk_that_fails_at_any_call_costs_nothing_that_has_come(
    files: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    # One flush at the end: each attempt then makes the same calls.
    monkeypatch.setattr(download, "_FEW_BYTES", len(WEIGHTS))
    number = 0
    while True:
        system = FailingSystem(number, whole=True)
        monkeypatch.setattr(atomic, "system", system)
        monkeypatch.setattr(download, "system", system)
        try:
            found = bring(url)
        except RecordError as error:
            assert error.problems[0].code == "E801"  # noqa: PT017 - the loop ends when nothing fails
        else:
            break
        monkeypatch.setattr(atomic, "system", atomic.System())
        kept = [path for path in urls_folder().glob("[0-9a-f]*/*") if path.parent.name != "by-address"]
        assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name for path in kept)
        number += 1 if number > 30 else 5
    assert number >= 8
    assert found.digest == hashlib.sha256(WEIGHTS).hexdigest()
    # Asked for more of a file that had come whole, the server had nothing to send.
    assert 416 in {request.status for request in files.requests}


def test_what_a_failing_power_supply_leaves_is_never_taken_for_more_than_it_is(
    files: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    monkeypatch.setattr(download, "_FLUSH_BYTES", 700_000)
    dice, number, stopped = random.Random(3), 0, True
    while stopped:
        monkeypatch.setenv("RECIPE_RUNNER_CACHE", str(Path(f"cache-{number}").absolute()))
        system = Power(number)
        monkeypatch.setattr(atomic, "system", system)
        monkeypatch.setattr(download, "system", system)
        try:
            bring(url)
            stopped = False
        except Killed:
            system.lose(dice)
        monkeypatch.setattr(atomic, "system", atomic.System())
        monkeypatch.setattr(download, "system", atomic.System())
        assert bring(url).digest == hashlib.sha256(WEIGHTS).hexdigest()
        number += 5
    assert number > 30
    # Some attempts went on where the flushed part ended.
    assert [request for request in files.requests if request.status == 206]


def test_a_busy_server_is_asked_again_when_it_says(files: HubServer, waits: list[float]) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    files.fail("w.safetensors", status=429, headers={"Retry-After": "7"})
    files.fail("w.safetensors", status=502)
    assert bring(url).files[0].size == len(WEIGHTS)
    assert waits == [7.0, 2.0]


def test_what_is_no_file_is_explained_and_not_kept(files: HubServer) -> None:
    page = files.put("login.safetensors", b"<html>log in</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    closed = files.put("closed.safetensors", WEIGHTS, token="secret")  # noqa: S106
    assert refusal(lambda: bring(page)).startswith(
        f"E438 {page}: the server answers with a web page | the file may need"
    )
    assert refusal(lambda: bring(closed)).startswith(f"E438 {closed}: the server refuses access (status 401)")
    assert refusal(lambda: bring(f"{files.url}/files/none.safetensors")).endswith(
        "the server answers with status 404 | check the address in a browser"
    )
    nowhere = "https://127.0.0.1:9/w.safetensors"
    assert refusal(lambda: bring(nowhere)).startswith(f"E436 {nowhere}: cannot be downloaded (")
    assert not list(urls_folder().glob("[0-9a-f]*"))


def test_secrets_stay_out_of_addresses(files: HubServer) -> None:
    for url in ("https://civitai.com/api/download/1?token=abc123", "https://me:abc123@example.org/w.safetensors"):
        for call in (lambda url=url: bring(url), lambda url=url: find_weights(Address(url), folder=Path())):
            said = refusal(call)
            assert said.startswith("E439 https://")
            assert "abc123" not in said
    assert not files.requests


def test_a_token_goes_to_its_own_host_and_no_further(files: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", "civitai-secret")
    monkeypatch.setattr(download, "_is_civitai", lambda host: host == "localhost")
    files.put("blob.safetensors", WEIGHTS)
    own = files.url.replace("127.0.0.1", "localhost")
    files.put("api/1", b"", redirect=f"{files.url}/files/blob.safetensors")
    found = bring(f"{own}/files/api/1")
    assert [request.authorization for request in files.requests] == ["Bearer civitai-secret", None]
    kept = [path for path in urls_folder().rglob("*") if path.is_file()]
    assert found.files[0].size == len(WEIGHTS)
    assert not [path for path in kept if b"civitai-secret" in path.read_bytes()]


def test_a_pin_decides_what_a_url_may_give(files: HubServer) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    pins = pinned(url, "w.safetensors", WEIGHTS)
    assert bring(url, pins=pins).digest == hashlib.sha256(WEIGHTS).hexdigest()
    files.put("w.safetensors", OTHER)
    # What is here is what the lock names, whatever the URL gives by now.
    assert bring(url, pins=pins, newest=True).digest == hashlib.sha256(WEIGHTS).hexdigest()
    assert bring(url, newest=True).digest == hashlib.sha256(OTHER).hexdigest()
    absent = pinned(url, "w.safetensors", bytes(len(OTHER)))
    assert refusal(lambda: bring(url, pins=absent)).startswith(f"E430 {url}: sha256 mismatch: got ")
    assert not list((urls_folder() / "incoming").glob("*.part"))


def test_a_damaged_record_costs_a_download_and_no_answer(files: HubServer) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    bring(url)
    (record,) = (urls_folder() / "by-address").iterdir()
    for damage in (
        b"",
        b"[]",
        b"[" * 100_000,
        json.dumps({"url": url, "name": "../x", "size": 1, "sha256": "0" * 64}).encode(),
    ):
        record.write_bytes(damage)
        assert bring(url).digest == hashlib.sha256(WEIGHTS).hexdigest()


def _bring_in_a_process(url: str, queue: multiprocessing.Queue[str]) -> None:
    queue.put(bring(url).digest)


def test_many_at_once_end_with_one_whole_file(files: HubServer) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[str] = context.Queue()
    running = [context.Process(target=_bring_in_a_process, args=(url, queue)) for _ in range(3)]
    digests: list[str] = []
    threads = [threading.Thread(target=lambda: digests.append(bring(url).digest)) for _ in range(2)]
    for process in running:
        process.start()
    for thread in threads:
        thread.start()
    digests += [queue.get(timeout=60) for _ in running]
    for process in running:
        process.join(60)
    for thread in threads:
        thread.join(60)
    assert digests == [hashlib.sha256(WEIGHTS).hexdigest()] * 5
    assert files.sent("w.safetensors") == len(WEIGHTS)
