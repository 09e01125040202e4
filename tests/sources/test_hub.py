"""Sources from a Hub, by the real client: exactly the files that are needed, proved, and every refusal explained."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.hub import hub
from support.hub_server import TOKEN, Fault, HubServer
from support.safetensors_bytes import whole

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.sources.access import Access, Pin, reach
from recipe_runner.sources.find import find_base, find_beside, find_component, find_weights
from recipe_runner.sources.hub import client
from recipe_runner.sources.hub.cache import repository_folder
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.sources.source import Address

__all__ = ["hub"]

LORA = whole({"unet.a.lora_A.weight": (4, 8), "unet.a.lora_B.weight": (8, 4)})
OTHER = whole({"unet.b.lora_A.weight": (4, 8), "unet.b.lora_B.weight": (8, 4)})
PICKLE = b"\x80\x02}q\x00."
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}


def weights(name: str) -> bytes:
    """A file of its own: the cache keeps equal ones once."""
    return whole({f"{name}.weight": (4, 8)})


BASE = {
    ".gitattributes": b"",
    "README.md": b"read me",
    "handler.py": b"import os",
    "model_index.json": json.dumps(INDEX).encode(),
    "scheduler/scheduler_config.json": b'{"a": 1}',
    "text_encoder/config.json": b'{"a": 2}',
    "text_encoder/model.safetensors": weights("text"),
    "text_encoder/model.fp16.safetensors": weights("text.half"),
    "text_encoder/pytorch_model.bin": PICKLE,
    "unet/config.json": b'{"a": 3}',
    "unet/diffusion_pytorch_model.bin": PICKLE,
    "unet/diffusion_pytorch_model.safetensors": weights("unet"),
    "unet/diffusion_pytorch_model.fp16.safetensors": weights("unet.half"),
    "v1-5-pruned.safetensors": weights("all"),
}
FP16 = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
]


def online(**options: object) -> AbstractContextManager[None]:
    return reach(Access(network=True, **options))  # type: ignore[arg-type]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RecipeRunnerError) as caught:
        call()
    (problem,) = caught.value.problems
    return f"{problem.code} {problem.message} | {problem.hint}"


def resolved(hub: HubServer) -> list[str]:
    """Names of the files whose bytes were sent."""
    return sorted(r.path.split("/", 5)[5] for r in hub.requests if r.method == "GET" and "/resolve/" in r.path)


def test_exactly_the_files_of_a_variant_are_fetched(hub: HubServer, tmp_path: Path) -> None:
    commit = hub.commit("org/base", BASE)
    with online():
        found = find_base(Address("org/base", variant="fp16"), folder=tmp_path)
    assert found.source.commit == commit
    assert [file.name for file in found.source.files] == FP16
    assert resolved(hub) == FP16
    asked = len(hub.requests)
    with online():
        assert find_base(Address("org/base", variant="fp16"), folder=tmp_path) == found
    # What is here is found without the network, also when it may be used.
    assert find_base(Address("org/base", variant="fp16"), folder=tmp_path) == found
    assert len(hub.requests) == asked


def test_only_what_is_lacking_is_fetched(hub: HubServer, tmp_path: Path) -> None:
    hub.commit("org/base", BASE)
    with online():
        find_base(Address("org/base", variant="fp16"), folder=tmp_path)
        asked = len(hub.requests)
        find_base(Address("org/base"), folder=tmp_path, left_out=["text_encoder"])
    assert sorted({r.path.split("/", 5)[5] for r in hub.requests[asked:]}) == [
        "unet/diffusion_pytorch_model.safetensors"
    ]
    # The listing is known, so that what is missing is missing, and not merely not seen.
    assert refusal(lambda: find_base(Address("org/base"), folder=tmp_path)) == (
        "E402 org/base: not whole in the local Hub cache (1 file missing: text_encoder/model.safetensors) | "
        "`recipe-runner fetch` downloads what a recipe needs, `hf download org/base` the whole repository"
    )


def test_components_and_weights_by_name(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(
        "org/ip", {"models/enc/config.json": b"{}", "models/enc/model.safetensors": LORA, "a.safetensors": OTHER}
    )
    with online():
        component = find_component(Address("org/ip", subfolder="models/enc"), folder=tmp_path)
        weights = find_weights(Address("org/ip"), folder=tmp_path)
    assert component.subfolder == "models/enc"
    assert [file.name for file in component.source.files] == ["models/enc/config.json", "models/enc/model.safetensors"]
    assert [file.name for file in weights.files] == ["a.safetensors"]
    assert weights.path("a.safetensors").read_bytes() == OTHER


def test_a_file_beside_the_weights_is_fetched_and_only_where_it_is_there(hub: HubServer, tmp_path: Path) -> None:
    name = "adapter_config.json"
    commit = hub.commit("org/peft", {f"unet/{name}": b"{}", "unet/adapter_model.safetensors": LORA, "a/b.json": b"{}"})
    with online():
        weights = find_weights(Address("org/peft", subfolder="unet"), folder=tmp_path)
        found = find_beside(weights, name, folder=tmp_path)
        assert find_beside(weights, "other.json", folder=tmp_path) is None
    assert found is not None
    assert (found.commit, [file.name for file in found.files]) == (commit, [f"unet/{name}"])
    assert find_beside(weights, name, folder=tmp_path) == found
    (repository_folder("org/peft") / "snapshots" / commit / "unet" / name).unlink()
    said = refusal(lambda: find_beside(weights, name, folder=tmp_path))
    assert said.startswith("E402 org/peft: not whole in the local Hub cache (1 file missing: unet/adapter_con")


def test_a_mistake_costs_no_download(hub: HubServer, tmp_path: Path) -> None:
    hub.commit("org/base", BASE)
    hub.commit("org/pickled", {"w.bin": PICKLE * 1000})
    with online():
        assert refusal(lambda: find_base(Address("org/base", variant="fp17"), folder=tmp_path)).startswith(
            "E409 org/base: not"
        )
        assert refusal(
            lambda: find_weights(Address("org/base", weight_name="v2.safetensors"), folder=tmp_path)
        ).startswith("E401 ")
        assert refusal(lambda: find_weights(Address("org/pickled"), folder=tmp_path)).startswith(
            "E406 w.bin: this is a pickled"
        )
    assert hub.sent("safetensors") == hub.sent(".bin") == 0


def test_a_branch_is_looked_up_when_it_is_new_or_asked_for(hub: HubServer, tmp_path: Path) -> None:
    old = hub.commit("org/lora", {"w.safetensors": LORA})
    with online():
        assert find_weights(Address("org/lora"), folder=tmp_path).commit == old
    new = hub.commit("org/lora", {"w.safetensors": OTHER})
    with online():
        assert find_weights(Address("org/lora"), folder=tmp_path).commit == old
    with online(newest=True):
        assert find_weights(Address("org/lora"), folder=tmp_path).commit == new
    assert find_weights(Address("org/lora"), folder=tmp_path).commit == new
    with online(newest=True, pins={("org/lora", None): Pin(commit=old, files=())}):
        assert find_weights(Address("org/lora"), folder=tmp_path).commit == old


def test_without_leave_no_socket_is_opened(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("org/lora", {"w.safetensors": LORA})

    def never(*_: object) -> None:
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket, "socket", never)
    for revision in (None, "main", "a" * 40):
        with pytest.raises(SourceMissing) as caught:
            find_weights(Address("org/lora", revision=revision), folder=tmp_path)
        assert caught.value.problems[0].code == "E402"
    assert not hub.requests


def test_a_part_of_a_repository_is_not_taken_for_all_of_it(hub: HubServer, tmp_path: Path) -> None:
    commit = hub.commit("org/base", BASE)
    snapshot = repository_folder("org/base") / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_bytes(BASE["model_index.json"])
    said = refusal(lambda: find_base(Address("org/base", revision=commit), folder=tmp_path))
    assert said.startswith(
        "E402 org/base: not whole in the local Hub cache (org/base: model_index.json names the component"
    )
    with online():
        assert len(find_base(Address("org/base", revision=commit), folder=tmp_path).source.files) == 6


def test_gated_private_and_absent_repositories_are_explained(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit("org/gated", {"w.safetensors": LORA}, gated=True)
    hub.commit("org/private", {"w.safetensors": LORA}, private=True)
    hub.commit("org/open", {"w.safetensors": LORA})

    def said(address: str, revision: str | None = None) -> str:
        with online():
            return refusal(lambda: find_weights(Address(address, revision=revision), folder=tmp_path))

    assert said("org/gated") == (
        f"E433 org/gated: the repository is gated | accept its terms on {hub.url}/org/gated, then log in with "
        "`hf auth login` or set HF_TOKEN"
    )
    assert said("org/private") == (
        "E434 org/private: the Hub has no such repository, or it is private | check the spelling; for a private "
        "repository log in with `hf auth login` or set HF_TOKEN"
    )
    assert said("org/absent").startswith("E434 org/absent: the Hub has no such repository")
    assert said("org/open", "v9").startswith("E435 org/open: the repository has no branch, tag or commit v9")
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert said("org/gated").endswith(f"the account of your token has no access yet: ask for it on {hub.url}/org/gated")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with online():
        for address in ("org/gated", "org/private"):
            assert find_weights(Address(address), folder=tmp_path).files[0].size == len(LORA)


def test_other_bytes_are_fetched_again_and_never_kept(hub: HubServer, tmp_path: Path) -> None:
    hub.commit("org/lora", {"w.safetensors": LORA, "x.json": b"{}"})
    hub.fail("w.safetensors", other_bytes=True)
    with online():
        assert find_weights(Address("org/lora"), folder=tmp_path).files[0].size == len(LORA)
    commit = hub.commit("org/other", {"w.safetensors": LORA})
    hub.fail("w.safetensors", other_bytes=True, times=2)
    with online():
        assert refusal(lambda: find_weights(Address("org/other"), folder=tmp_path)).startswith(
            f"E437 org/other: w.safetensors arrived twice with other bytes than commit {commit[:12]} has"
        )
    assert not [path for path in (repository_folder("org/other") / "blobs").iterdir() if path.stat().st_size]


def test_a_file_damaged_in_the_cache_is_told(hub: HubServer, tmp_path: Path) -> None:
    commit = hub.commit("org/lora", {"w.safetensors": LORA})
    with online():
        path = find_weights(Address("org/lora"), folder=tmp_path).path("w.safetensors")
    path.resolve().write_bytes(OTHER)
    assert refusal(lambda: find_weights(Address("org/lora"), folder=tmp_path)) == (
        f"E437 org/lora: w.safetensors is not the file that commit {commit[:12]} has: it was damaged or changed | "
        f"delete {path.resolve()}; it is then fetched again"
    )


def test_a_hub_that_is_down_or_busy(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("org/lora", {"w.safetensors": LORA})
    hub.fail("w.safetensors", drop_after=40)
    with online():
        assert find_weights(Address("org/lora"), folder=tmp_path).files[0].size == len(LORA)
    hub.commit("org/busy", {"w.safetensors": LORA})
    hub.fail("/api/models/org/busy", status=503, times=100)
    with online():
        said = refusal(lambda: find_weights(Address("org/busy"), folder=tmp_path))
    assert said.startswith("E436 org/busy: the Hub cannot be reached (it answered with status 503) | try again later")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with online():
        said = refusal(lambda: find_weights(Address("org/never"), folder=tmp_path))
    assert said.startswith("E436 org/never: the Hub cannot be reached (")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("Consistency check failed: file should be of size 10 but has size 9 (w.safetensors)."), "E437"),
        (OSError(5, "cannot resize the buffer"), "E436"),
        (OSError("the window size of the connection was exceeded"), "E436"),
    ],
)
def test_only_the_client_s_own_check_says_that_a_file_has_another_size(error: OSError, code: str) -> None:
    def fetch() -> None:
        with client._explained("org/lora", None):
            raise error

    assert refusal(fetch).startswith(f"{code} org/lora: ")


def test_a_file_that_comes_short_is_told(hub: HubServer, tmp_path: Path) -> None:
    hub.commit("org/lora", {"w.safetensors": LORA})
    hub.faults.append(Fault("w.safetensors", times=99, cut_to=9))
    with online():
        said = refusal(lambda: find_weights(Address("org/lora"), folder=tmp_path))
    assert said.startswith("E437 org/lora: a file arrived with the wrong size")
