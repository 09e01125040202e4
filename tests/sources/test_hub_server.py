"""The Hub on loopback is enough of a Hub for the real client, and goes wrong when it is told to."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_cached_repo_tree, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from support.hub import hub
from support.hub_server import TOKEN, HubServer

__all__ = ["hub"]

WEIGHTS = bytes(range(256)) * 1000
FILES = {"config.json": b"{}", "unet/model.safetensors": WEIGHTS, "README.md": b"read"}


def test_the_real_client_downloads_commits_and_branches(hub: HubServer) -> None:
    old = hub.commit("org/name", {"config.json": b"old"})
    new = hub.commit("org/name", FILES)
    other = hub.commit("org/name", {"config.json": b"other"}, branch="v2")
    info = HfApi().model_info("org/name", files_metadata=True)
    assert info.sha == new
    assert info.siblings is not None
    lfs = {sibling.rfilename: sibling.lfs for sibling in info.siblings}
    weights = lfs["unet/model.safetensors"]
    assert weights is not None
    assert weights.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    folder = Path(snapshot_download("org/name", allow_patterns=["unet/*"]))
    assert folder.name == new
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["model.safetensors"]
    assert [file.path for file in get_cached_repo_tree("org/name")] == sorted(FILES)
    assert Path(hf_hub_download("org/name", "config.json", revision=old)).read_bytes() == b"old"
    assert Path(hf_hub_download("org/name", "config.json", revision="v2")).parent.name == other


def test_what_is_closed_says_so(hub: HubServer) -> None:
    hub.commit("org/gated", FILES, gated=True)
    hub.commit("org/private", FILES, private=True)
    with pytest.raises(GatedRepoError):
        hf_hub_download("org/gated", "config.json")
    for repository in ("org/private", "org/absent"):
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download(repository, "config.json")
    for repository in ("org/gated", "org/private"):
        assert Path(hf_hub_download(repository, "config.json", token=TOKEN)).read_bytes() == b"{}"
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("org/gated", "config.json", revision="nobranch", token=TOKEN)


def test_ranges_and_counts(hub: HubServer) -> None:
    url = hub.put("a.bin", WEIGHTS)
    request = urllib.request.Request(url, headers={"Range": "bytes=10-19"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        assert (answer.status, answer.read()) == (206, WEIGHTS[10:20])
        assert answer.headers["Content-Range"] == f"bytes 10-19/{len(WEIGHTS)}"
    assert (hub.sent("a.bin"), hub.asked("a.bin")) == (10, 1)


def test_a_connection_that_drops_is_resumed_and_other_bytes_pass(hub: HubServer) -> None:
    hub.commit("org/name", FILES)
    hub.fail("model.safetensors", drop_after=100_000)
    path = hf_hub_download("org/name", "unet/model.safetensors")
    assert Path(path).read_bytes() == WEIGHTS
    assert hub.asked("model.safetensors") == 2
    hub.commit("org/other", FILES)
    hub.fail("model.safetensors", other_bytes=True)
    # The client compares sizes, not digests: whoever needs these very bytes has to hash them.
    path = hf_hub_download("org/other", "unet/model.safetensors")
    assert Path(path).read_bytes() != WEIGHTS


def test_a_busy_hub_is_asked_again(hub: HubServer) -> None:
    hub.commit("org/name", FILES)
    hub.fail("config.json", method="HEAD", status=503)
    assert Path(hf_hub_download("org/name", "config.json")).read_bytes() == b"{}"
