"""Configurations: what contradicts a header is reported at its key, bombs are refused, and honest models pass."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command import ROOT, call
from support.configurations import change, problems_of
from support.safetensors_bytes import whole

from recipe_runner.weights.configuration import excesses, impossible, problems_in, unfounded
from recipe_runner.weights.configuration.fault import Fault

DEMO = ROOT / "recipes" / "demo" / "model"
ENCODER = ROOT / "recipes" / "demo" / "ip_adapter"


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return shutil.copytree(DEMO, tmp_path / "model")


CONTRADICTIONS: list[tuple[str, str, Any, str]] = [
    # file, key, what it is changed to, what the header (or the limit) says
    ("text_encoder/config.json", "hidden_size", 64, "128"),
    ("text_encoder/config.json", "hidden_size", "128", "128"),
    ("text_encoder/config.json", "vocab_size", 700, "727"),
    ("text_encoder/config.json", "num_hidden_layers", 1, "2"),
    ("text_encoder/config.json", "intermediate_size", 512, "384"),
    ("text_encoder/config.json", "max_position_embeddings", 77, "24"),
    ("unet/config.json", "in_channels", 9, "4"),
    ("unet/config.json", "out_channels", 8, "4"),
    ("unet/config.json", "cross_attention_dim", 768, "128"),
    ("unet/config.json", "block_out_channels", [32, 64, 256], "128"),
    ("unet/config.json", "block_out_channels", [32, 64], "3"),
    ("unet/config.json", "block_out_channels", 32, "64"),
    ("unet/config.json", "layers_per_block", 2, "1"),
    ("unet/config.json", "layers_per_block", [1, 1, 2], "1"),
    ("unet/config.json", "transformer_layers_per_block", [1, 10, 1], "1"),
    ("unet/config.json", "up_block_types", ["UpBlock2D"], "3"),
    ("vae/config.json", "latent_channels", 16, "4"),
    ("vae/config.json", "in_channels", 4, "3"),
    ("vae/config.json", "block_out_channels", [12, 24, 65], "64"),
    ("vae/config.json", "scaling_factor", 0, "positive"),
    ("vae/config.json", "scaling_factor", -0.18215, "positive"),
    ("vae/config.json", "scaling_factor", float("inf"), "positive"),
    ("vae/config.json", "scaling_factor", "0.18", "positive"),
    ("vae/config.json", "shift_factor", [], "number"),
    ("vae/config.json", "latents_std", [1.0, 0.0], "positive"),
    ("tokenizer/tokenizer_config.json", "model_max_length", 0, "3"),
    ("tokenizer/tokenizer_config.json", "model_max_length", -5, "3"),
    ("tokenizer/tokenizer_config.json", "model_max_length", True, "3"),
    ("tokenizer/tokenizer_config.json", "model_max_length", 77, "24"),
    ("tokenizer/tokenizer_config.json", "added_tokens_decoder", {"727": {"content": "<new>"}}, "727"),
    ("scheduler/scheduler_config.json", "num_train_timesteps", 0, "1"),
    ("scheduler/scheduler_config.json", "num_train_timesteps", 1e3, "whole"),
    ("scheduler/scheduler_config.json", "prediction_type", "velocity", "v_prediction"),
]


@pytest.mark.parametrize(("file", "key", "value", "said"), CONTRADICTIONS)
def test_a_value_that_is_not_the_models_is_reported_at_its_key(
    demo: Path, file: str, key: str, value: Any, said: str
) -> None:
    change(demo / file, **{key: value})
    problems = problems_of(demo)
    assert {problem.code for problem in problems} == {"E517"}
    first = problems[0]
    assert first.path == str(demo / file)
    assert (key if key != "added_tokens_decoder" else '"727"') in (demo / file).read_text().splitlines()[first.line - 1]
    assert first.message.partition(": ")[2].startswith(key) or "number 727" in first.message
    assert said in first.message


def test_the_commands_report_it_and_nothing_is_loaded(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(demo / "tokenizer" / "tokenizer_config.json", model_max_length=0)
    change(demo / "text_encoder" / "config.json", num_hidden_layers=3, hidden_size=64)
    recipe = tmp_path / "r.yaml"
    recipe.write_text("recipe: 1\nname: r\nbase: {model: model}\nprompts: [{prompt: a}]\n")
    for words in (("validate", "--weights"), ("plan",), ("run", "--runs", str(tmp_path / "runs"))):
        answer = call(capsys, *words, str(recipe))
        assert answer.status == 1, answer
        assert answer.err.count("E517") + answer.out.count("E517") >= 3, answer
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and path.suffix == ".png"]


def test_a_vocabulary_larger_than_the_embeddings_is_reported(demo: Path) -> None:
    file = demo / "tokenizer" / "tokenizer.json"
    tree = json.loads(file.read_bytes())
    tree["model"]["vocab"]["extra</w>"] = 727
    file.write_text(json.dumps(tree))
    (problem,) = problems_of(demo)
    assert problem.code == "E517"
    assert "727" in problem.message


BOMBS: list[tuple[str, dict[str, Any]]] = [
    ("text_encoder/config.json", {"num_hidden_layers": 10**7}),
    ("text_encoder/config.json", {"vocab_size": 10**12}),
    ("text_encoder/config.json", {"hidden_size": 10**300}),
    ("text_encoder/config.json", {"text_config": {"num_hidden_layers": 10**7}}),
    ("text_encoder/config.json", {"num_hidden_layers": 1e7}),
    ("text_encoder/config.json", {"id2label": [0] * 200_000}),
    ("unet/config.json", {"block_out_channels": [4] * 10**5}),
    ("unet/config.json", {"layers_per_block": [[10**7]]}),
    ("unet/config.json", {"sample_size": 10**6}),
    ("unet/config.json", {"a": float("nan")}),
    ("vae/config.json", {"layers_per_block": 10**9}),
    ("vae/config.json", {"x": "y" * 3_000_000}),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": 1e9}),
    ("scheduler/scheduler_config.json", {"trained_betas": [0.1] * 150_000}),
]


@pytest.mark.parametrize(("file", "values"), BOMBS)
def test_a_bomb_is_refused_before_a_library_reads_it(demo: Path, file: str, values: dict[str, Any]) -> None:
    change(demo / file, **values)
    problems = problems_of(demo)
    assert {problem.code for problem in problems} == {"E422"}, problems
    # Also as the configuration of a single file, and where another base takes the part.
    single = demo.parent / "single.safetensors"
    single.write_bytes(whole({"a": (1,)}))
    assert {problem.code for problem in problems_of(single, config=str(demo))} == {"E422"}
    part = demo / file.partition("/")[0]
    if part.name != "scheduler":
        problems = problems_of(DEMO, components={part.name: {"model": str(part)}})
        assert {problem.code for problem in problems} == {"E422"}


def nested(depth: int) -> str:
    return '{"a": ' * depth + "1" + "}" * depth


@pytest.mark.parametrize("depth", [33, 900, 100_000])
def test_a_configuration_nested_too_deeply_is_refused(demo: Path, depth: int) -> None:
    (demo / "vae" / "config.json").write_text(nested(depth))
    (problem,) = problems_of(demo)
    assert problem.code in ("E422", "E407")


@pytest.mark.parametrize("name", ["tokenizer/tokenizer.json", "tokenizer/vocab.json", "tokenizer/merges.txt"])
def test_a_vocabulary_of_hundreds_of_megabytes_is_refused_by_its_size(demo: Path, name: str) -> None:
    with (demo / name).open("ab") as file:
        file.truncate(300_000_000)
    (problem,) = problems_of(demo)
    assert problem.code == "E422"
    assert "64,000,000" in problem.message


def test_an_adapters_image_encoder_is_held_to_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ENCODER, tmp_path / "ip")
    recipe = tmp_path / "r.yaml"
    look = f"{{kind: ip_adapter, model: ip/ip-adapter_shapes.safetensors, image: {DEMO.parent}/inputs/red-heart.png}}"
    recipe.write_text(
        f"recipe: 1\nname: r\nbase: {{model: {DEMO}}}\nadapters: {{look: {look}}}\nprompts: [{{prompt: a}}]\n"
    )
    assert call(capsys, "plan", str(recipe)).status == 0
    config = tmp_path / "ip" / "image_encoder" / "config.json"
    stated = json.loads(config.read_bytes())["num_hidden_layers"]
    change(config, num_hidden_layers=stated + 1)
    answer = call(capsys, "validate", "--weights", str(recipe))
    assert answer.status == 1, answer
    assert "E517" in answer.out + answer.err
    change(config, num_hidden_layers=10**8)
    answer = call(capsys, "validate", "--weights", str(recipe))
    assert answer.status == 1, answer
    assert "100,000,000" in answer.out + answer.err


def test_modules_without_a_tensor_are_not_believed_of_any_class() -> None:
    assert list(unfounded({"num_widgets_layers": 49}, 48))
    assert list(unfounded({"block_out_channels": [8] * 20, "layers_per_block": [3, 2]}, 48))
    assert not list(unfounded({"num_layers": 48, "max_window_layers": 900, "hidden_size": 4096}, 48))


def test_a_key_is_found_where_it_stands(tmp_path: Path) -> None:
    text = '{"list": [{"size": 1}, [2]],\n "text": {"size": 2,\n  "size": 3}, "\\u0073ize": 4}'
    (tmp_path / "config.json").write_text(text)
    faults = [Fault((), "a"), Fault(("text", "size"), "b"), Fault(("size",), "c"), Fault(("none",), "d")]
    found = [(p.line, p.column) for p in problems_in(tmp_path / "config.json", "x", "E517", faults, "")]
    assert found == [(1, 1), (3, 3), (3, 15), (1, 1)]


def test_the_configurations_of_this_package_are_within_the_limits() -> None:
    for file in (ROOT / "recipe_runner" / "configs").rglob("*.json"):
        tree = json.loads(file.read_bytes())
        assert not list(excesses(file.name, tree)), file
        assert not list(impossible(file.name, tree)), file


def test_what_pages_say_of_the_limits_is_true() -> None:
    from recipe_runner.problems.codes import explain
    from recipe_runner.weights.configuration import most_bytes

    page = explain("E422")
    said = [int(number) * 10**6 for number in re.findall(r"(\d+) MB for", page)]
    assert said == [most_bytes("config.json"), most_bytes("tokenizer_config.json"), most_bytes("tokenizer.json")]
