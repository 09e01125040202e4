"""Addresses and the files they need: found, chosen, or refused with a reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.safetensors_bytes import whole

from recipe_runner.problems.problem import Problem, RecipeRunnerError
from recipe_runner.sources.find import find_base, find_component, find_weights
from recipe_runner.sources.missing import SourceMissing, Unresolved
from recipe_runner.sources.source import Address

LORA = whole({"unet.a.lora_A.weight": (4, 8), "unet.a.lora_B.weight": (8, 4)})
ABSENT = "no such file or folder beside the recipe"
PICKLE = b"\x80\x02}q\x00."


def write(root: Path, files: dict[str, bytes | dict[str, object]]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return root


INDEX: dict[str, object] = {
    "_class_name": "StableDiffusionPipeline",
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
BASE: dict[str, bytes | dict[str, object]] = {
    "model_index.json": INDEX,
    "README.md": b"not needed",
    "scheduler/scheduler_config.json": {},
    "text_encoder/config.json": {},
    "text_encoder/model.safetensors": LORA,
    "text_encoder/pytorch_model.bin": PICKLE,
    "tokenizer/vocab.json": {},
    "tokenizer/merges.txt": b"",
    "unet/config.json": {},
    "unet/diffusion_pytorch_model.safetensors": LORA,
    "unet/diffusion_pytorch_model.fp16.safetensors": LORA,
}
NEEDED = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RecipeRunnerError) as caught:
        call()
    (problem,) = caught.value.problems
    return f"{problem.code} {problem.message} | {problem.hint}"


def test_a_base_folder_is_exactly_the_files_it_needs(tmp_path: Path) -> None:
    write(tmp_path / "model", BASE)
    found = find_base(Address("model"), folder=tmp_path)
    assert [file.name for file in found.source.files] == NEEDED
    assert (found.pipeline, found.weight_name, found.config) == ("StableDiffusionPipeline", None, None)
    assert found.components["unet"] == ("diffusers", "UNet2DConditionModel")
    assert "safety_checker" not in found.components
    assert found.source.files[3].sha256 == hashlib.sha256(LORA).hexdigest()
    assert found.source.files[3].size == len(LORA)


def test_replaced_components_need_no_files(tmp_path: Path) -> None:
    write(tmp_path / "model", {name: content for name, content in BASE.items() if not name.startswith("text_enc")})
    found = find_base(Address("model"), folder=tmp_path, left_out=["text_encoder"])
    assert [file.name for file in found.source.files] == [n for n in NEEDED if not n.startswith("text_encoder")]
    assert refusal(lambda: find_base(Address("model"), folder=tmp_path)) == (
        "E416 model: model_index.json names the component text_encoder, and there is no such folder | "
        "download the whole folder, or set `base.components.text_encoder`"
    )
    assert refusal(lambda: find_base(Address("model"), folder=tmp_path, left_out=["text_encoder", "unett"])) == (
        "E418 model has no component unett | did you mean unet?"
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("unet/config.json", b"{", "E407 model/unet/config.json: not a readable JSON file"),
        ("tokenizer/tokenizer_config.json", b"[]", "E407 model/tokenizer/tokenizer_config.json: not a JSON object"),
        ("scheduler/scheduler_config.json", None, "E416 model/scheduler: scheduler_config.json is missing"),
        ("tokenizer/vocab.json", None, "E416 model/tokenizer: the vocabulary is missing"),
    ],
)
def test_a_configuration_that_is_broken_or_missing(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    write(tmp_path / "model", BASE)
    if content is None:
        for path in (tmp_path / "model" / name).parent.iterdir():
            path.unlink()
    else:
        (tmp_path / "model" / name).write_bytes(content)
    assert refusal(lambda: find_base(Address("model"), folder=tmp_path)).startswith(said)


def test_a_part_replaced_by_a_single_file_keeps_its_configuration(tmp_path: Path) -> None:
    write(tmp_path / "model", BASE)
    found = find_base(Address("model"), folder=tmp_path, left_out=["unet"], described=["unet"])
    assert [file.name for file in found.source.files if file.name.startswith("unet/")] == ["unet/config.json"]


def test_everything_that_a_folder_lacks_is_told_at_once(tmp_path: Path) -> None:
    checker = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    processor = {"feature_extractor": ["transformers", "CLIPImageProcessor"]}
    write(tmp_path / "model", {**BASE, "model_index.json": {**INDEX, **checker, **processor}})
    assert refusal(lambda: find_base(Address("model"), folder=tmp_path)) == (
        "E416 model: model_index.json names the components safety_checker and feature_extractor, and there are no such "
        "folders | download the whole folder, or leave out: "
        "`base.components: {safety_checker: null, feature_extractor: null}`"
    )
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(INDEX))
    for name in ("text_encoder/model", "unet/diffusion_pytorch_model"):
        (tmp_path / "model" / f"{name}.safetensors").rename(tmp_path / "model" / f"{name}.fp16.safetensors")
    (tmp_path / "model" / "text_encoder" / "pytorch_model.bin").unlink()
    assert refusal(lambda: find_base(Address("model"), folder=tmp_path)) == (
        "E416 model: text_encoder has no weights but those of variant fp16; unet has no weights but those of variant "
        "fp16 | set `base.variant: fp16`"
    )
    (tmp_path / "model" / "unet" / "config.json").unlink()
    assert refusal(lambda: find_base(Address("model", variant="fp16"), folder=tmp_path)) == (
        "E416 model/unet: config.json is missing | download the whole folder"
    )


def test_every_component_must_have_the_variant(tmp_path: Path) -> None:
    write(tmp_path / "model", BASE)
    assert refusal(lambda: find_base(Address("model", variant="fp16"), folder=tmp_path)) == (
        "E409 model: not every component has variant fp16: text_encoder has no weights of variant fp16; it has "
        "no variant | choose a variant that every component has, or replace text_encoder in `base.components`"
    )
    write(tmp_path / "model", {"text_encoder/model.fp16.safetensors": LORA})
    found = find_base(Address("model", variant="fp16"), folder=tmp_path)
    assert [file.name for file in found.source.files if file.name.endswith("safetensors")] == [
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    ]


def test_shards_are_followed_by_their_index(tmp_path: Path) -> None:
    files = {name: content for name, content in BASE.items() if "diffusion_pytorch" not in name}
    stem = "unet/diffusion_pytorch_model"
    names = [f"{stem}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index: dict[str, object] = {"weight_map": {"a": names[0][5:], "b": names[1][5:], "c": names[0][5:]}}
    root = write(tmp_path / "model", {**files, f"{stem}.safetensors.index.json": index, names[0]: LORA})
    assert refusal(lambda: find_base(Address("model"), folder=tmp_path)).startswith(
        "E416 model/unet: 1 of the 2 shards in diffusion_pytorch_model.safetensors.index.json are missing: "
        "diffusion_pytorch_model-00002-of-00002.safetensors"
    )
    write(root, {names[1]: LORA})
    found = find_base(Address("model"), folder=tmp_path)
    assert [file.name for file in found.source.files if file.name.startswith(stem)] == [
        *names, f"{stem}.safetensors.index.json"
    ]  # fmt: skip


def test_pickles_come_last_and_need_leave(tmp_path: Path) -> None:
    files = {name: content for name, content in BASE.items() if name != "text_encoder/model.safetensors"}
    write(tmp_path / "model", files)
    assert refusal(lambda: find_base(Address("model"), folder=tmp_path)).startswith("E406 ")
    found = find_base(Address("model"), folder=tmp_path, allow_pickle=True)
    assert "text_encoder/pytorch_model.bin" in [file.name for file in found.source.files]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_index.json": b"{"}, "E407 model/model_index.json: not a readable JSON file"),
        ({"model_index.json": b"[]"}, "E407 model/model_index.json: not a JSON object"),
        ({"model_index.json": {}}, "E407 model/model_index.json names no pipeline class (_class_name is None)"),
        (
            {"model_index.json": {**INDEX, "_class_name": ["pipeline", "Mine"]}},
            "E408 model/model_index.json asks for a pipeline class from its own code",
        ),
        (
            {"model_index.json": {**INDEX, "unet": ["my_module", "MyUNet"]}},
            "E408 model/model_index.json: component unet wants MyUNet from 'my_module'",
        ),
        (
            {"model_index.json": {**INDEX, "../up": ["diffusers", "UNet2DConditionModel"]}},
            "E407 model/model_index.json: component '../up' names no class",
        ),
        ({"pipeline.py": b"import os"}, "E408 model has its own code (pipeline.py)"),
        ({"unet/mine.py": b"import os"}, "E408 model/unet has its own code (mine.py)"),
    ],
)
def test_broken_indexes_and_foreign_code_are_refused(
    changes: dict[str, bytes | dict[str, object]], said: str, tmp_path: Path
) -> None:
    write(tmp_path / "model", {**BASE, **changes})
    assert refusal(lambda: find_base(Address("model"), folder=tmp_path)).startswith(said)


def test_paths_are_relative_to_the_recipe_and_not_to_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe"
    write(recipe, {"org/name/w.safetensors": LORA})
    elsewhere = write(tmp_path / "elsewhere", {"org/other/w.safetensors": LORA})
    monkeypatch.chdir(elsewhere)
    assert find_weights(Address("org/name"), folder=recipe).files[0].name == "w.safetensors"
    for address in ("org/name/w.safetensors", "./org/name", str(recipe / "org" / "name")):
        assert find_weights(Address(address), folder=recipe).digest == hashlib.sha256(LORA).hexdigest()
    with pytest.raises(SourceMissing, match="org/other: not in the local Hub cache"):
        find_weights(Address("org/other"), folder=recipe)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("styel.safetensors", f"E401 styel.safetensors: {ABSENT} | did you mean style.safetensors?"),
        ("./files/x", f"E401 ./files/x: {ABSENT} | there is: a.txt"),
        (
            "https://example.org/w.safetensors",
            "E403 https://example.org/w.safetensors: not downloaded yet | `recipe-runner fetch` downloads it",
        ),
        (
            "http://example.org/w",
            "E405 http://example.org/w: only https addresses are supported | give a path, a Hub id or an https URL",
        ),
        (
            "org/name",
            (
                "E402 org/name: not in the local Hub cache | `recipe-runner fetch` downloads what a recipe needs, `hf "
                "download org/name` the whole repository; if a folder was meant, write ./org/name"
            ),
        ),
    ],
)
def test_what_is_not_there_says_so(address: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, {"style.safetensors": LORA, "files/a.txt": b""})
    assert refusal(lambda: find_weights(Address(address), folder=tmp_path)) == said


def test_one_weights_file_is_chosen_only_when_it_is_the_only_one(tmp_path: Path) -> None:
    write(tmp_path, {"one/w.safetensors": LORA, "one/w.bin": PICKLE, "one/readme.md": b"", "two/a.safetensors": LORA})
    write(tmp_path, {"two/b.safetensors": LORA, "none/readme.md": b"x", "pickled/w.pt": PICKLE})
    assert find_weights(Address("one"), folder=tmp_path).files[0].name == "w.safetensors"
    assert refusal(lambda: find_weights(Address("two"), folder=tmp_path)) == (
        "E404 two holds 2 weights files: a.safetensors, b.safetensors | choose one with `weight_name`"
    )
    assert find_weights(Address("two", weight_name="b.safetensors"), folder=tmp_path).files[0].name == "b.safetensors"
    assert refusal(lambda: find_weights(Address("two", weight_name="c.safetensors"), folder=tmp_path)) == (
        "E401 two: no file c.safetensors in it | did you mean b.safetensors or a.safetensors?"
    )
    assert refusal(lambda: find_weights(Address("none"), folder=tmp_path)).startswith(
        "E404 none: no weights file in it"
    )
    assert refusal(lambda: find_weights(Address("pickled"), folder=tmp_path)).startswith("E406 ")
    assert find_weights(Address("pickled"), folder=tmp_path, allow_pickle=True).files[0].name == "w.pt"


def test_a_subfolder_is_part_of_the_name(tmp_path: Path) -> None:
    write(tmp_path, {"repo/models/w.safetensors": LORA})
    source = find_weights(Address("repo", subfolder="models", weight_name="w.safetensors"), folder=tmp_path)
    assert source.files[0].name == "models/w.safetensors"
    assert source.path(source.files[0].name).read_bytes() == LORA
    assert refusal(lambda: find_weights(Address("repo", subfolder="model"), folder=tmp_path)) == (
        "E401 repo: no folder model in it | did you mean models?"
    )
    assert refusal(
        lambda: find_weights(Address("repo/models/w.safetensors", weight_name="v.bin"), folder=tmp_path)
    ).startswith("E405 repo/models/w.safetensors is already a file")


@pytest.mark.parametrize("name", ["../w.safetensors", "/etc/passwd", "a/../../w", "~/w", "a\\..\\w", "C:/w", "a\nb"])
@pytest.mark.parametrize("key", ["weight_name", "subfolder"])
def test_nothing_leads_out_of_a_source(key: str, name: str, tmp_path: Path) -> None:
    write(tmp_path, {"w.safetensors": LORA, "repo/x.safetensors": LORA})
    subfolder = name if key == "subfolder" else None
    weight_name = name if key == "weight_name" else None
    said = refusal(lambda: find_weights(Address("repo", subfolder=subfolder, weight_name=weight_name), folder=tmp_path))
    assert said == f"E405 {key} {name!r} points outside repo | give a path inside the source"


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def _hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub cache with one repository, laid out as huggingface_hub does, links and all."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--org--name"
    write(repo, {"blobs/1234": LORA, "refs/main": COMMIT.encode(), "refs/pr/1": b"../../../etc"})
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "w.safetensors").symlink_to("../../blobs/1234")


@pytest.mark.usefixtures("_hub")
def test_a_hub_id_is_found_in_the_cache_by_branch_or_commit(tmp_path: Path) -> None:
    for revision in (None, "main", COMMIT):
        source = find_weights(Address("org/name", revision=revision), folder=tmp_path)
        assert (source.commit, source.digest) == (COMMIT, hashlib.sha256(LORA).hexdigest())


@pytest.mark.usefixtures("_hub")
@pytest.mark.parametrize("revision", ["v2", "pr/1", "f" * 40])
def test_a_revision_that_is_not_in_the_cache(revision: str, tmp_path: Path) -> None:
    assert refusal(lambda: find_weights(Address("org/name", revision=revision), folder=tmp_path)) == (
        f"E402 org/name: not in the local Hub cache at revision {revision} | "
        f"`recipe-runner fetch` downloads what a recipe needs, `hf download org/name --revision {revision}` "
        "the whole repository; if a folder was meant, write ./org/name"
    )


@pytest.mark.usefixtures("_hub")
def test_a_folder_beside_the_recipe_wins_and_has_no_revision(tmp_path: Path) -> None:
    write(tmp_path, {"org/name/mine.safetensors": LORA})
    assert find_weights(Address("org/name"), folder=tmp_path).commit is None
    assert refusal(lambda: find_weights(Address("org/name", revision="main"), folder=tmp_path)).startswith(
        "E405 org/name is a local path; a revision (main) means something only for a Hub repository"
    )


def test_components_are_folders_or_single_files(tmp_path: Path) -> None:
    write(tmp_path, {"vae/config.json": {}, "vae/diffusion_pytorch_model.safetensors": LORA, "v.safetensors": LORA})
    write(tmp_path, {"all/tok/tokenizer_config.json": {}, "all/tok/vocab.json": {}, "bare/x.txt": b""})
    found = find_component(Address("vae"), folder=tmp_path)
    assert [file.name for file in found.source.files] == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert (found.subfolder, found.weight_name) == (None, None)
    assert find_component(Address("v.safetensors"), folder=tmp_path).weight_name == "v.safetensors"
    tokenizer = find_component(Address("all", subfolder="tok"), folder=tmp_path)
    assert [file.name for file in tokenizer.source.files] == ["tok/tokenizer_config.json", "tok/vocab.json"]
    assert tokenizer.subfolder == "tok"
    assert refusal(lambda: find_component(Address("vae", variant="fp16"), folder=tmp_path)).startswith(
        "E409 vae has no weights of variant fp16; it has no variant"
    )
    assert refusal(lambda: find_component(Address("bare"), folder=tmp_path)).startswith(
        "E416 bare: config.json is missing"
    )


def test_what_is_unresolved_has_a_stable_identity() -> None:
    wanted = Address(model="org/name", weight_name="w.safetensors")
    first, second = (
        Unresolved(written=wanted, problem=Problem(code="E402", message=message)) for message in ("offline", "no cache")
    )
    assert first.digest == second.digest
    assert first.digest.startswith("unresolved:")
    assert first.digest != Unresolved(written=Address("org/name"), problem=first.problem).digest
