"""`validate --weights` and what `plan` adds: everything that files show before a GPU is touched."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from support.command import Answer, call, process
from support.header_bases import flux_base, header_base, write_table
from support.ip_adapters import write_picture
from support.safetensors_bytes import whole

import recipe_runner
from recipe_runner.actions.check_weights import weights_problems
from recipe_runner.plan.checks import memory
from recipe_runner.problems.problem import Problem
from recipe_runner.weights.files import digests
from recipe_runner.weights.files.digests import unhashed

LONG = ", ".join(f"a bear number {number} on a hill" for number in range(12)) + ", and Nothing Of This is read"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bases and adapters of true shape, none of which holds a number."""
    made = tmp_path_factory.mktemp("headers")
    header_base(made / "sd1", "sd1")
    header_base(made / "sdxl", "sdxl")
    flux_base(made / "flux")
    flux_base(made / "hunyuan", "hunyuan-video")
    for name in ("lora-sd1-kohya", "lora-sdxl-kohya", "lora-flux1-kohya", "vae-sd", "vae-flux2", "checkpoint-sdxl"):
        write_table(made / f"{name}.safetensors", name)
    (made / "wide.safetensors").write_bytes(whole({"emb_params": (4, 1024)}))
    (made / "multi.safetensors").write_bytes(whole({"emb_params": (70, 768)}))
    return made


@pytest.fixture(autouse=True)
def _on_a_large_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "device_of", lambda _: memory.Device("a large machine", 2**40, 0.0))


def recipe(folder: Path, text: str, prompt: str = "a bear") -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"recipe: 1\nname: a\n{text}prompts: [{{id: bear, prompt: {json.dumps(prompt)}}}]\n")
    return path


def told(folder: Path, text: str, prompt: str = "a bear") -> list[Problem]:
    return list(weights_problems(recipe(folder, text, prompt)))


def test_all_adapters_are_judged_at_once_and_nothing_is_hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_hash_once", None)
    found = told(
        folder,
        "base: {model: sd1}\n"
        "adapters:\n"
        "  right: {kind: lora, model: lora-sd1-kohya.safetensors}\n"
        "  large: {kind: lora, model: lora-sdxl-kohya.safetensors}\n"
        "  other: {kind: lora, model: lora-flux1-kohya.safetensors}\n"
        "  nowhere: {kind: lora, model: lora-sd1-kohya.safetensors, scale: {unet: {down: {block_7: 0.5}}}}\n"
        "  wide: {kind: textual_inversion, model: wide.safetensors, token: wide}\n",
        "a wide bear",
    )
    assert [(problem.code, problem.line) for problem in found] == [
        ("E601", 6),
        ("E602", 7),
        ("E611", 8),
        ("E622", 9),
    ]
    assert found[0].hint == (
        "this LoRA was trained on SDXL (cross-attention width 2048); the base is SD 1.x (cross-attention width 768)"
    )
    assert found[1].hint == "this LoRA was trained on FLUX.1; the base is SD 1.x"


@pytest.mark.parametrize("base", ["sd1", "sdxl", "checkpoint-sdxl.safetensors"])
def test_what_fits_is_told_as_fitting(folder: Path, base: str) -> None:
    family = "sd1" if base == "sd1" else "sdxl"
    text = f"base: {{model: ./{base}, dtype: float16}}\nadapters:\n"
    text += f"  style: {{kind: lora, model: lora-{family}-kohya.safetensors, scale: {{unet: {{down: 0.5}}}}}}\n"
    assert told(folder, text) == []


def test_an_adapter_that_lands_on_a_relative_is_a_warning(folder: Path) -> None:
    adapters = "adapters: {style: {kind: lora, model: lora-flux1-kohya.safetensors}}\n"
    assert told(folder, f"base: {{model: flux}}\n{adapters}") == []
    (problem,) = told(folder, f"base: {{model: hunyuan}}\n{adapters}")
    assert (problem.code, problem.severity) == ("W763", "warning")
    assert "every tensor lands, but this LoRA was trained on FLUX.1; the base is HunyuanVideo" in problem.message


@pytest.mark.parametrize("first", ["own", "foreign"])
def test_every_value_of_an_axis_may_land_on_a_relative(folder: Path, first: str) -> None:
    module = "transformer.context_embedder.token_refiner.refiner_blocks.0.attn.to_q"
    own = whole({f"{module}.lora_A.weight": (4, 3072), f"{module}.lora_B.weight": (3072, 4)})
    (folder / "lora-own.safetensors").write_bytes(own)
    files = ["lora-own.safetensors", "lora-flux1-kohya.safetensors"]
    files = files if first == "own" else files[::-1]
    text = f"base: {{model: hunyuan}}\nadapters: {{style: {{kind: lora, model: {files[0]}}}}}\n"
    assert [problem.code for problem in told(folder, text)] == ([] if first == "own" else ["W763"])
    text += f"matrix: {{adapters.style.model: [{', '.join(files)}]}}\n"
    assert [problem.code for problem in told(folder, text)] == ["W763"]


def test_a_member_of_a_merge_may_land_on_a_relative(folder: Path) -> None:
    lora = "{kind: lora, model: lora-flux1-kohya.safetensors}"
    mix = "{kind: merge, adapters: [one, two], weights: [1, 1]}"
    found = told(folder, f"base: {{model: hunyuan}}\nadapters: {{one: {lora}, two: {lora}, mix: {mix}}}\n")
    assert [problem.code for problem in found] == ["W763", "W763"]


@pytest.mark.parametrize("first", [0, 1])
def test_the_variant_with_the_most_weights_is_held_against_the_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    values = ["{}", "{s: {kind: lora, model: lora-sd1-kohya.safetensors}}"]
    axis = ", ".join([values[first], values[1 - first]])
    text = f"base: {{model: sd1, dtype: float16}}\nadapters: {{}}\nmatrix: {{adapters: [{axis}]}}\n"
    with unhashed():
        plan = recipe_runner.compile_recipe(recipe(folder, text))
    small, large = sorted(weights.total for each in plan.recipe.variants if (weights := memory.weights_memory(each)))
    assert small < large
    for size, codes in ((large, []), (large - 1, ["W760"]), (small - 1, ["W760"])):
        monkeypatch.setattr(memory, "device_of", lambda _, size=size: memory.Device("a GPU", size, 9.0))
        assert [problem.code for problem in told(folder, text)] == codes


def test_components_are_held_against_the_pipeline(folder: Path) -> None:
    (problem,) = told(folder, "base: {model: sd1, components: {vae: {model: sd1, subfolder: text_encoder}}}\n")
    assert (problem.code, problem.line) == ("E506", 3)
    assert problem.message == "vae: the pipeline needs a AutoencoderKL, and this is a CLIPTextModel"
    (problem,) = told(folder, "base: {model: sdxl, components: {unet: {model: sd1, subfolder: unet}}}\n")
    assert problem.code == "E507"
    assert problem.message == (
        "the text encoders and unet do not fit: 2048 features from the text encoders, "
        "but cross_attention_dim 768 in unet"
    )


@pytest.mark.parametrize("base", ["sd1", "checkpoint-sdxl.safetensors"])
def test_words_past_the_window_are_told(folder: Path, base: str) -> None:
    found = told(folder, f"base: {{model: {base}}}\n", LONG)
    assert {problem.code for problem in found} == {"W751"}
    assert len(found) == (1 if base == "sd1" else 2)
    lost = found[0].message.partition("it does not see `")[2]
    assert lost.endswith("and Nothing Of This is read`")
    assert found[0].line == 4


def test_the_window_is_where_transformers_has_it(folder: Path) -> None:
    from transformers import CLIPTokenizer

    (problem,) = told(folder, "base: {model: sd1}\n", LONG)
    lost = problem.message.partition("it does not see `")[2].removesuffix("`")
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "sd1" / "tokenizer"))
    kept = LONG[: LONG.rindex(lost)]
    assert len(tokenizer(kept.strip()).input_ids) == 77
    assert len(tokenizer(LONG).input_ids) - 77 == len(tokenizer(lost).input_ids) - 2


def test_a_learned_token_takes_the_room_of_its_vectors(folder: Path) -> None:
    adapters = "adapters: {multi: {kind: textual_inversion, model: multi.safetensors, token: multi}}\n"
    assert told(folder, f"base: {{model: sd1}}\n{adapters}", "multi, one, two") == []
    (problem,) = told(folder, f"base: {{model: sd1}}\n{adapters}", "multi, one, two, three, four")
    assert problem.message.endswith("it does not see `three, four`")


def test_memory_is_told_and_held_against_the_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "base: {model: sd1, dtype: float16}\nadapters: {s: {kind: lora, model: lora-sd1-kohya.safetensors}}\n"
    small = memory.Device("a small GPU", 2**30, 7.5)
    monkeypatch.setattr(memory, "device_of", lambda _: small)
    (problem,) = told(folder, text)
    assert problem.code == "W760"
    assert problem.message == "the weights take 2.0 GiB in float16; a small GPU has 1.0 GiB"
    found = told(folder, text.replace("float16", "bfloat16"))
    assert [problem.code for problem in found] == ["W760", "W761"]


def test_the_device_is_asked_of_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A, 24564, 8.9'\necho 'NVIDIA B, 11264, 6.1'\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert memory.device_of("cuda") == ("NVIDIA A", 24564 * 2**20, 8.9)
    assert memory.device_of("cuda:1") == ("NVIDIA B", 11264 * 2**20, 6.1)
    assert memory.device_of("cuda:7") is None
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert memory.device_of("cuda") is None
    found = memory.device_of("cpu")
    assert found is not None
    assert found.memory_bytes > 2**28


def test_what_is_not_here_is_said_to_be_unchecked(folder: Path) -> None:
    (problem,) = told(folder, "base: {model: sd1}\nadapters: {far: {kind: lora, model: somebody/far-away}}\n")
    assert (problem.code, problem.severity, problem.line) == ("W762", "warning", 4)
    assert problem.message.startswith("adapters.far was not checked: somebody/far-away: not in the local Hub cache")


def test_an_image_of_one_prompt_that_is_not_here_is_told_at_that_prompt(folder: Path) -> None:
    write_picture(folder / "b.png", 1)
    path = folder / "recipe.yaml"
    path.write_text(
        "recipe: 1\nname: a\nbase: {model: sd1}\n"
        "adapters: {look: {kind: ip_adapter, model: somebody/far-away, image: b.png}}\n"
        "prompts:\n  - {id: day, prompt: a bear}\n"
        '  - {id: night, prompt: a bear, images: {look: ["https://example.org/a.png", b.png]}}\n'
    )
    problems = weights_problems(path)
    places = {problem.message.split()[0]: (problem.line, problem.column) for problem in problems}
    assert places == {
        "adapters.look": (4, 18),
        "adapters.look.image_encoder": (4, 18),
        "prompts.night.images.look[0]": (7, 49),
    }


def test_a_class_that_only_the_model_names_is_blamed_on_the_model(folder: Path, tmp_path: Path) -> None:
    for part in (folder / "sd1").iterdir():
        (tmp_path / part.name).symlink_to(part)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionInpaintPipeline"}))
    (problem,) = told(folder, f"base: {{model: {tmp_path}}}\n")
    assert (problem.code, problem.path, problem.line, problem.column) == ("E328", str(folder / "recipe.yaml"), 3, 15)
    assert "base.pipeline" in problem.hint


def validate(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[Answer, dict[str, Any]]:
    answer = call(capsys, "validate", *words, "--format", "json")
    return answer, json.loads(answer.out)


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(folder, "base: {model: sd1}\nadapters: {s: {kind: lora, model: lora-sdxl-kohya.safetensors}}\n")
    answer, tree = validate(capsys, str(path))
    assert (answer.status, tree["errors"]) == (0, 0)
    answer, tree = validate(capsys, str(path), "--weights")
    assert (answer.status, [problem["code"] for problem in tree["problems"]]) == (1, ["E601"])
    path.write_text("recipe: 1\n")
    answer, tree = validate(capsys, str(path), "--weights")
    assert {problem["code"] for problem in tree["problems"]} == {"E202"}


def test_a_plan_shows_where_tensors_land_and_the_memory_of_weights(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = recipe(
        folder,
        "base: {model: sdxl, dtype: float16}\nadapters: {s: {kind: lora, model: lora-sdxl-kohya.safetensors}}\n",
        LONG,
    )
    # The files are gigabytes of zeros; what they are called here decides nothing.
    with unhashed():
        answer = call(capsys, "plan", str(path), "--runs", str(tmp_path))
        tree = json.loads(call(capsys, "plan", str(path), "--runs", str(tmp_path), "--format", "json").out)
    assert "  adapter s: 1680 of 1680 tensors, unet 1680\n" in answer.out
    assert "weights in memory: 6.5 GiB in float16 (" in answer.out
    assert "W751" in answer.err
    (weights,) = tree["weights"]
    assert weights["dtype"] == "float16"
    assert weights["bytes"] == sum(weights["components"].values())
    assert list(weights["components"]) == ["text_encoder", "text_encoder_2", "unet", "vae", "adapters"]


def test_torch_is_not_imported(folder: Path) -> None:
    path = recipe(folder, "base: {model: sd1}\nadapters: {s: {kind: lora, model: lora-sd1-kohya.safetensors}}\n", LONG)
    answer = process("validate", "--weights", str(path), PYTHONPROFILEIMPORTTIME="1")
    assert answer.status == 0
    imported = {line.rpartition("|")[2].strip() for line in answer.err.splitlines() if line.startswith("import time:")}
    assert not imported & {"torch", "transformers", "diffusers", "huggingface_hub", "numpy"}


def test_a_plan_counts_what_a_target_leaves_out(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    unet = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    text = "text_encoder.encoder.layers.0.mlp.fc1.lora"
    lora = {f"{unet}_A.weight": (4, 320), f"{unet}_B.weight": (320, 4)}
    lora |= {f"{text}_A.weight": (4, 768), f"{text}_B.weight": (3072, 4)}
    (folder / "both.safetensors").write_bytes(whole(lora))
    path = recipe(folder, "base: {model: sd1}\nadapters: {s: {kind: lora, model: both.safetensors, target: unet}}\n")
    with unhashed():
        answer = call(capsys, "plan", str(path), "--runs", str(tmp_path))
    assert "  adapter s: 2 of 4 tensors, unet 2\n" in answer.out


def test_a_token_that_only_the_file_names_and_no_prompt_uses(folder: Path) -> None:
    (folder / "named.safetensors").write_bytes(whole({"<cat>": (1, 768)}))
    text = "base: {model: sd1}\nadapters: {cat: {kind: textual_inversion, model: named.safetensors}}\n"
    assert told(folder, text, "a <cat>") == []
    (problem,) = told(folder, text)
    assert (problem.code, problem.severity) == ("W331", "warning")
