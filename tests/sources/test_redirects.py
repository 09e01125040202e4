"""Redirects: each hop is checked, tokens stay with their origin, and no server sends more than it may."""

from __future__ import annotations

import hashlib
import http.server
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]
from support.hub import files, hub
from support.hub_server import HubServer
from support.safetensors_bytes import whole

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.sources.access import Access, Pin, reach
from recipe_runner.sources.find import find_weights
from recipe_runner.sources.redirects import MOST_REDIRECTS, _fault
from recipe_runner.sources.source import Address, SourceFile
from recipe_runner.sources.url import download
from recipe_runner.sources.url.cache import urls_folder

__all__ = ["files", "hub"]

WEIGHTS = whole({"a.weight": (1400, 1000)})
PUBLIC = "https://93.184.216.34/w.safetensors"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been waited, in seconds; nothing is."""
    waited: list[float] = []
    monkeypatch.setattr(download, "sleep", waited.append)
    return waited


def bring(url: str, *, headers: bool = False, size: int | None = None) -> None:
    pins: dict[tuple[str, str | None], Pin] = {}
    if size is not None:
        file = SourceFile(name="w.safetensors", size=size, sha256=hashlib.sha256(WEIGHTS).hexdigest())
        pins = {(url, None): Pin(commit=None, files=(file,))}
    with reach(Access(network=True, headers=headers, pins=pins)):
        find_weights(Address(url), folder=Path())


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RecipeRunnerError) as caught:
        call()
    (problem,) = caught.value.problems
    return f"{problem.code} {problem.message}"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://127.0.0.1/x.safetensors", "from https only https"),
        ("http://93.184.216.34/x", "from https only https"),
        ("file:///etc/passwd", "from https only https"),
        ("ftp://93.184.216.34/x", "from https only https"),
        ("https://127.0.0.1/x", "a loopback address"),
        ("https://localhost/x", "a loopback address"),
        ("https://a.localhost/x", "a loopback address"),
        ("https://2130706433/x", "a loopback address"),
        ("https://0.0.0.0/x", "a loopback address"),
        ("https://[::1]/x", "a loopback address"),
        ("https://[::ffff:127.0.0.1]/x", "a loopback address"),
        ("https://[64:ff9b::7f00:1]/x", "a loopback address"),
        ("https://10.1.2.3/x", "a private address"),
        ("https://192.168.1.1/x", "a private address"),
        ("https://172.16.0.1/x", "a private address"),
        ("https://100.64.0.1/x", "a private address"),
        ("https://[fd00::1]/x", "a private address"),
        ("https://169.254.169.254/latest/meta-data", "a link-local address"),
        ("https://[fe80::1]/x", "a link-local address"),
        ("https://168.63.129.16/x", "a metadata address"),
        ("https://[fd00:ec2::254]/x", "a metadata address"),
    ],
)
def test_a_redirect_leads_nowhere_but_to_the_internet(target: str, why: str) -> None:
    said = _fault(httpx2.URL(PUBLIC), httpx2.URL(PUBLIC), httpx2.URL(target))
    assert said is not None
    assert why in said


def test_a_name_that_leads_to_this_machine_is_told_by_what_it_resolves_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    own = socket.gethostname()
    first, target = httpx2.URL(PUBLIC), httpx2.URL(f"https://{own}/x")
    try:
        addresses = {ip_address(str(entry[4][0]).partition("%")[0]) for entry in socket.getaddrinfo(own, None)}
    except OSError:
        pytest.skip("this machine's name leads nowhere")
    if all(address.is_global for address in addresses):
        pytest.skip("this machine's name leads to the internet")
    assert _fault(first, first, target)
    # Behind a proxy it is the proxy that looks names up.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert _fault(first, first, target) is None
    assert _fault(first, first, httpx2.URL("https://10.0.0.1/x")) == "that is a private address"


@pytest.mark.parametrize(
    ("first", "target", "followed"),
    [
        (PUBLIC, "https://1.1.1.1/x", True),
        ("https://127.0.0.1:1/x", "https://localhost:2/x", True),
        ("https://10.0.0.1/x", "https://10.0.0.2/x", True),
        ("https://169.254.1.1/x", "https://169.254.1.1:8443/x", True),
        ("http://127.0.0.1/x", "http://127.0.0.1/y", True),
        ("http://127.0.0.1/x", "https://127.0.0.1/y", True),
        ("https://10.0.0.1/x", "https://127.0.0.1/x", False),
        ("https://127.0.0.1/x", "https://10.0.0.1/x", False),
        ("https://169.254.1.1/x", "https://169.254.169.254/x", False),
        ("http://127.0.0.1/x", "file:///etc/passwd", False),
        ("http://127.0.0.1/x", "ftp://127.0.0.1/x", False),
    ],
)
def test_what_the_recipe_names_itself_may_be_redirected_to(first: str, target: str, followed: bool) -> None:  # noqa: FBT001
    assert (_fault(httpx2.URL(first), httpx2.URL(first), httpx2.URL(target)) is None) is followed


@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:1/x.safetensors?sig=S3CRET", "file:///etc/passwd", "https://169.254.169.254/x", "https://a:b/"],
)
def test_a_refused_redirect_fails_at_once(files: HubServer, target: str, headers: bool, waits: list[float]) -> None:  # noqa: FBT001
    url = files.put("w.safetensors", b"", redirect=target)
    said = refusal(lambda: bring(url, headers=headers))
    assert said.startswith(f"E443 {url}: the server redirects to ")
    assert "S3CRET" not in said
    assert (files.asked("w.safetensors"), waits) == (1, [])


@pytest.mark.parametrize("headers", [False, True])
def test_a_circle_ends_at_once(files: HubServer, headers: bool, waits: list[float]) -> None:  # noqa: FBT001
    url = files.put("w.safetensors", b"", redirect="/files/w.safetensors")
    assert refusal(lambda: bring(url, headers=headers)).startswith(
        f"E443 {url}: the server redirects more than 10 times"
    )
    assert (files.asked("w.safetensors"), waits) == (MOST_REDIRECTS + 1, [])


def test_a_later_hop_is_checked_like_the_first(files: HubServer) -> None:
    files.put("b.safetensors", b"", redirect="https://169.254.169.254/x")
    url = files.put("a.safetensors", b"", redirect="/files/b.safetensors")
    assert "https://169.254.169.254: that is a link-local address" in refusal(lambda: bring(url))


def test_the_hub_token_goes_to_its_origin_alone(files: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_test")
    url = files.put("w.safetensors", WEIGHTS)
    monkeypatch.setenv("HF_ENDPOINT", f"{files.url}/")
    bring(url)
    for number, endpoint in enumerate((files.url.replace("https", "http"), "https://127.0.0.1:1")):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        bring(files.put(f"{number}.safetensors", WEIGHTS))
    for endpoint in ("127.0.0.1", "::"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        assert refusal(lambda: bring(files.put("other.safetensors", WEIGHTS))).startswith("E447 HF_ENDPOINT")
    assert [request.authorization for request in files.requests] == ["Bearer hf_secret_of_the_test", None, None]


def test_a_file_of_another_size_than_the_lock_names_is_not_taken(files: HubServer) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    assert refusal(lambda: bring(url, size=100)) == (
        f"E430 {url}: size mismatch: got {len(WEIGHTS)} bytes, the lock expects 100"
    )
    assert files.asked("w.safetensors") == 1
    assert not list((urls_folder() / "incoming").glob("*.part"))


@pytest.mark.parametrize(
    ("host", "known"),
    [
        *((host, True) for host in ("civitai.com", "civitai.red", "civitai.green", "www.civitai.red")),
        *((host, False) for host in ("civitai.org", "xcivitai.red", "civitai.red.example", "evil.example")),
    ],
)
def test_civitais_key_goes_to_every_host_of_civitai_and_to_no_other(
    host: str,
    known: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", "civitai-secret")
    headers = download._headers(f"https://{host}/api/download/models/1")
    assert (headers.get("Authorization") == "Bearer civitai-secret") is known
    answer = httpx2.Response(401)
    with pytest.raises(RecipeRunnerError) as caught:
        download._refuse(f"https://{host}/api/download/models/1", answer)
    assert ("CIVITAI_TOKEN" in caught.value.problems[0].hint) is known


class _Endless(http.server.BaseHTTPRequestHandler):
    """Sends zeros for as long as someone takes them, and never says how many."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Send zeros."""
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            self.close_connection = True


@pytest.fixture
def endless(files: HubServer, tmp_path: Path) -> Iterator[str]:  # noqa: ARG001 - makes the certificate
    """The address of a file without an end."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Endless)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}/w.safetensors"
    server.shutdown()
    server.server_close()


def test_a_file_without_an_end_stops_at_the_size_of_the_lock(endless: str) -> None:
    assert refusal(lambda: bring(endless, size=500_000)) == (
        f"E430 {endless}: size mismatch: got more bytes, the lock expects 500000"
    )
    assert not list((urls_folder() / "incoming").glob("*.part"))


def test_a_file_without_an_end_stops_at_the_stated_limit(endless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MOST_UNANNOUNCED", 1_000_000)
    assert refusal(lambda: bring(endless)).startswith(
        f"E438 {endless}: the server does not state the file's size, and sent more than 1000000 bytes"
    )
    # Of its header no more is read than a header can be.
    assert refusal(lambda: bring(endless, headers=True)).startswith("E403 ")


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/x"])
def test_a_whole_file_of_the_hub_follows_no_redirect_elsewhere(hub: HubServer, target: str) -> None:
    hub.commit("org/lora", {"w.safetensors": WEIGHTS})
    hub.fail("/resolve/", status=302, headers={"Location": target}, times=9)
    with reach(Access(network=True)), pytest.raises(RecipeRunnerError) as caught:
        find_weights(Address("org/lora"), folder=Path())
    (problem,) = caught.value.problems
    assert (problem.code, "the server redirects to " in problem.message) == ("E443", True)
    # Other users of huggingface_hub in this process keep their session as it was.
    assert len(get_session().event_hooks["request"]) == 1


def test_a_header_range_of_the_hub_follows_no_redirect_elsewhere(hub: HubServer) -> None:
    hub.commit("org/lora", {"w.safetensors": WEIGHTS})
    hub.fail("/resolve/", status=302, headers={"Location": "http://169.254.169.254/x"}, times=9)
    with reach(Access(network=True, headers=True)), pytest.raises(RecipeRunnerError) as caught:
        find_weights(Address("org/lora"), folder=Path())
    assert caught.value.problems[0].code == "E443"


_BRING = """
import sys
from pathlib import Path
from recipe_runner.sources.access import Access, reach
from recipe_runner.sources.find import find_weights
from recipe_runner.sources.source import Address
with reach(Access(network=True)):
    find_weights(Address(sys.argv[1]), folder=Path())
"""


def test_a_small_download_that_is_killed_goes_on(files: HubServer) -> None:
    url = files.put("w.safetensors", WEIGHTS)
    gate = threading.Event()
    files.hold("w.safetensors", after=2_500_000, until=gate)
    process = subprocess.Popen([sys.executable, "-c", _BRING, url], env=dict(os.environ))
    incoming = urls_folder() / "incoming"
    while not any(download._size(path) >= 2_400_000 for path in incoming.glob("[!.]*.part")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    gate.set()
    before = len(files.requests)
    bring(url)
    (request,) = files.requests[before:]
    assert request.status == 206
    assert request.sent < 1_100_000
