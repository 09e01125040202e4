"""What a library would load beside the files that were hashed, or would fetch or run, is refused while planning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.safetensors_bytes import whole

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.sources.find import find_base, find_component
from recipe_runner.sources.source import Address

WEIGHTS = whole({"a.weight": (4, 8)})
UNET, TEXT, MODEL = "unet/diffusion_pytorch_model", "text_encoder/model", "model.safetensors"
INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
BASE: dict[str, Any] = {
    "model_index.json": INDEX,
    "scheduler/scheduler_config.json": {"_class_name": "DDIMScheduler"},
    "text_encoder/config.json": {"architectures": ["CLIPTextModel"]},
    f"{TEXT}.safetensors": WEIGHTS,
    "tokenizer/vocab.json": {},
    "tokenizer/tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer"},
    "unet/config.json": {"_class_name": "UNet2DConditionModel"},
    f"{UNET}.safetensors": WEIGHTS,
}


def write(root: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return root


def sharded(stem: str) -> dict[str, Any]:
    """An index, and the shard that it names."""
    shard = f"{Path(stem).name}-00001-of-00001.safetensors"
    return {
        f"{stem}.safetensors.index.json": {"weight_map": {"a.weight": shard}},
        f"{Path(stem).parent}/{shard}": WEIGHTS,
    }


def said(root: Path, changes: dict[str, Any]) -> str:
    """What finding the base says once these files are written too."""
    write(root / "model", {**BASE, **changes})
    with pytest.raises(RecipeRunnerError) as caught:
        find_base(Address("model"), folder=root)
    (problem,) = caught.value.problems
    return f"{problem.code} {problem.message} | {problem.hint}"


def files(root: Path, changes: dict[str, Any]) -> tuple[list[str], str]:
    """The files of the base and its digest, once these files are written too."""
    write(root / "model", {**BASE, **changes})
    source = find_base(Address("model"), folder=root).source
    return [file.name for file in source.files], source.digest


@pytest.mark.parametrize("stem", [UNET, TEXT])
def test_weights_that_are_there_twice(stem: str, tmp_path: Path) -> None:
    part, name = stem.split("/")
    assert said(tmp_path, sharded(stem)) == (
        f"E444 model/{part} holds its weights twice: whole in {name}.safetensors, and in the shards that "
        f"{name}.safetensors.index.json names | delete the older of the two: {name}.safetensors, or "
        f"{name}.safetensors.index.json with its shards (for a repository, in a copy)"
    )


def test_an_adapter_in_the_folder_of_a_text_encoder(tmp_path: Path) -> None:
    adapter = {"text_encoder/adapter_config.json": {}, "text_encoder/adapter_model.safetensors": WEIGHTS}
    assert said(tmp_path, adapter).startswith("E444 model/text_encoder holds a PEFT adapter (adapter_config.json)")


def test_each_library_has_its_own_name_for_weights(tmp_path: Path) -> None:
    names, before = files(tmp_path, {})
    other = {"text_encoder/diffusion_pytorch_model.safetensors": b"x", f"unet/{MODEL}": b"x", f"{TEXT}.fp16.bin": b"x"}
    assert files(tmp_path, other) == (names, before)
    (tmp_path / "model" / f"{UNET}.safetensors").unlink()
    with pytest.raises(RecipeRunnerError) as caught:
        find_base(Address("model"), folder=tmp_path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.message) == ("E416", "model: unet holds no weights file that diffusers looks for")
    assert problem.hint == "rename its weights file diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    "name", ["text_encoder/config.1.0.0.json", "tokenizer/tokenizer.4.0.0.json", "tokenizer/tokenizer.model"]
)
def test_what_a_library_chooses_among_is_hashed(name: str, tmp_path: Path) -> None:
    chosen = {"text_encoder/config.json": {"configuration_files": ["config.json", "config.1.0.0.json"]}}
    chosen["tokenizer/tokenizer_config.json"] = {"fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.0.json"]}
    names, before = files(tmp_path, {**chosen, name: {}})
    assert name in names
    assert files(tmp_path, {**chosen, name: {"a": 1}}) != (names, before)


@pytest.mark.parametrize(
    ("component", "entry", "instead"),
    [
        ("text_encoder", ["transformers", "AutoModel"], "write CLIPTextModel, which its own files name"),
        ("text_encoder", ["transformers", "AutoModelForCausalLM"], "write CLIPTextModel, which its own files name"),
        ("text_encoder", ["transformers", "PreTrainedModel"], "write CLIPTextModel, which its own files name"),
        ("text_encoder", ["transformers", "CLIPPreTrainedModel"], "write CLIPTextModel, which its own files name"),
        ("text_encoder", ["transformers", "pipeline"], "write CLIPTextModel, which its own files name"),
        ("unet", ["diffusers", "AutoModel"], "write UNet2DConditionModel, which its own files name"),
        ("unet", ["diffusers", "DiffusionPipeline"], "write UNet2DConditionModel, which its own files name"),
        ("unet", ["diffusers", "ModelMixin"], "write UNet2DConditionModel, which its own files name"),
        (
            "unet",
            ["stable_diffusion", "StableDiffusionPipeline"],
            "write UNet2DConditionModel, which its own files name",
        ),
        ("tokenizer", ["transformers", "AutoTokenizer"], "write CLIPTokenizer, which its own files name"),
        ("tokenizer", ["transformers", "CLIPTokeniser"], "write CLIPTokenizer, which its own files name"),
        ("scheduler", ["diffusers", "SchedulerMixin"], "write DDIMScheduler, which its own files name"),
        ("scheduler", ["diffusers", "ConfigMixin"], "write DDIMScheduler, which its own files name"),
    ],
)
def test_a_class_that_is_not_concrete(component: str, entry: list[str], instead: str, tmp_path: Path) -> None:
    library, name = entry
    assert said(tmp_path, {"model_index.json": {**INDEX, component: entry}}) == (
        f"E445 model/model_index.json: component {component} is [{library}, {name}], which is not a concrete class of "
        f"a model, tokenizer, processor or scheduler | {instead}"
    )
    found = find_base(Address("model"), folder=tmp_path, left_out=[component])
    assert not any(file.name.startswith(f"{component}/") for file in found.source.files)


def test_a_class_that_nothing_names_better(tmp_path: Path) -> None:
    index = {**INDEX, "unet": ["diffusers", "UNet2DConditionModl"]}
    assert said(tmp_path, {"model_index.json": index, "unet/config.json": {}}).endswith(
        "| did you mean UNet2DConditionModel?"
    )
    changes = {"model_index.json": {**INDEX, "unet": ["diffusers", "AutoModel"]}, "unet/config.json": {}}
    assert said(tmp_path, changes).endswith("| write the class that the component was saved from")


@pytest.mark.parametrize("entry", [["transformers", "CLIPTokenizerFast"], ["transformers", "PreTrainedTokenizerFast"]])
def test_a_fast_class_is_a_concrete_one(entry: list[str], tmp_path: Path) -> None:
    files(tmp_path, {"model_index.json": {**INDEX, "tokenizer": entry}})


def test_a_replaced_component_names_a_concrete_class(tmp_path: Path) -> None:
    write(tmp_path / "part", {"config.json": {"_class_name": "AutoModel"}, MODEL: WEIGHTS})
    with pytest.raises(RecipeRunnerError) as caught:
        find_component(Address("part"), folder=tmp_path, name="vae")
    (problem,) = caught.value.problems
    assert problem.code == "E445"
    assert problem.message == (
        "part/config.json names the class AutoModel, which is not a concrete class of a model, tokenizer, processor or "
        "scheduler"
    )


def test_of_a_model_beside_its_tokenizer_the_one_that_is_meant_is_taken(tmp_path: Path) -> None:
    config = {"architectures": ["CLIPTextModel"]}
    write(tmp_path / "both", {"config.json": config, MODEL: WEIGHTS, "tokenizer_config.json": {}, "vocab.json": {}})
    settings = ["config.json", "tokenizer_config.json", "vocab.json"]
    for name, found in {"text_encoder_2": sorted([*settings, MODEL]), "tokenizer_2": settings}.items():
        source = find_component(Address("both"), folder=tmp_path, name=name).source
        assert [file.name for file in source.files] == found


@pytest.mark.parametrize(
    ("file", "setting", "value"),
    [
        ("text_encoder/config.json", "transformers_weights", "other.safetensors"),
        ("text_encoder/config.json", "_attn_implementation", "kernels-community/flash-attn3"),
        ("text_encoder/config.json", "attn_implementation", {"text_config": "someone/kernel"}),
        # Where the package is not installed, transformers fetches a kernel instead.
        ("text_encoder/config.json", "_attn_implementation", "flash_attention_2"),
        ("text_encoder/config.json", "_experts_implementation", "someone/kernel"),
        ("text_encoder/config.json", "quantization_config", {"quant_method": "fp8"}),
        ("text_encoder/config.json", "gguf_file", "x.gguf"),
        ("text_encoder/config.json", "fusion_config", {"patch_embeddings": True}),
        ("text_encoder/config.json", "configuration_files", ["config.json", "../config.1.0.0.json"]),
        ("unet/config.json", "quantization_config", {"quant_method": "bitsandbytes"}),
        ("unet/config.json", "use_kernels", True),
        ("tokenizer/tokenizer_config.json", "gguf_file", "/elsewhere/x.gguf"),
        ("tokenizer/tokenizer_config.json", "fast_tokenizer_files", ["/elsewhere/tokenizer.4.0.0.json"]),
        ("tokenizer/tokenizer_config.json", "trust_remote_code", True),
        ("text_encoder/generation_config.json", "custom_generate", "someone/code"),
    ],
)
def test_a_setting_that_loads_fetches_or_runs(file: str, setting: str, value: Any, tmp_path: Path) -> None:
    assert said(tmp_path, {file: {setting: value}}).startswith(f"E446 model/{file}: {setting} is ")
    inner = {"text_config": {"deep": [{setting: value}]}}
    assert said(tmp_path, {file: inner}).startswith(f"E446 model/{file}: text_config.deep.0.{setting} is ")


@pytest.mark.parametrize(
    "settings",
    [
        {"_attn_implementation": "sdpa", "_attn_implementation_autoset": True},
        {"attn_implementation": {"": "eager", "text_config": None}},
        {"quantization_config": None, "transformers_weights": None, "use_kernels": False},
        {"configuration_files": ["config.json"], "_commit_hash": "0" * 40, "_name_or_path": "someone/model"},
        # No class that is named outright asks for it; models of the Hub have it in their files.
        {"auto_map": {"AutoModel": "modeling.Model"}},
    ],
)
def test_settings_that_do_none_of_it(settings: dict[str, Any], tmp_path: Path) -> None:
    files(tmp_path, {"text_encoder/config.json": settings})


def test_code_that_a_part_of_a_part_names(tmp_path: Path) -> None:
    inner = {"vision_config": {"auto_map": {"AutoModel": "someone/code--modeling.Model"}}}
    assert said(tmp_path, {"text_encoder/config.json": inner}).startswith(
        "E446 model/text_encoder/config.json: vision_config.auto_map is "
    )
    # A processor has its tokenizer and image processor chosen by its files.
    index = {**INDEX, "tokenizer": ["transformers", "Qwen2VLProcessor"]}
    code = {"tokenizer/tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["x.T", None]}}}
    assert said(tmp_path, {"text_encoder/config.json": {}, "model_index.json": index, **code}).startswith(
        "E446 model/tokenizer/tokenizer_config.json: auto_map is "
    )


def test_the_configuration_of_a_single_file_is_read_in_the_same_way(tmp_path: Path) -> None:
    write(tmp_path / "config", {**BASE, "unet/config.json": {"quantization_config": {"quant_method": "fp8"}}})
    write(tmp_path, {"whole.safetensors": WEIGHTS})
    for changes, code in (({}, "E446"), ({"model_index.json": {**INDEX, "unet": ["diffusers", "AutoModel"]}}, "E445")):
        write(tmp_path / "config", changes)
        with pytest.raises(RecipeRunnerError) as caught:
            find_base(Address("whole.safetensors"), folder=tmp_path, config="config")
        assert caught.value.problems[0].code == code
