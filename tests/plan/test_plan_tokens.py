"""Learned tokens in plans: what headers tell, told before a run; and what decides the key of an image."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.safetensors_bytes import whole

import recipe_runner
from recipe_runner.api import prepare
from recipe_runner.plan.compile import Plan
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.record.state import plan_state
from recipe_runner.report.plan import adapters_of, plan_text

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "recipes" / "demo" / "model"
WIDTH = 128


def written(folder: Path, adapters: str, *prompts: str) -> Path:
    """A recipe on the demo model."""
    path = folder / "recipe.yaml"
    lines = [f"recipe: 1\nname: tokens\nbase: {{model: {MODEL}}}"]
    lines += [f"adapters:\n{adapters.rstrip()}"] if adapters else []
    lines += ["prompts:", *(f"  - {{id: p{number}, {prompt}}}" for number, prompt in enumerate(prompts))]
    path.write_text("\n".join([*lines, "runtime: {allow_pickle: true}\n"]))
    return path


def embedding(folder: Path, name: str, key: str = "emb_params", count: int = 2, width: int = WIDTH) -> Path:
    path = folder / name
    path.write_bytes(whole({key: (count, width)}))
    return path


def keys(plan: Plan) -> dict[str, str]:
    return {f"{image.variant}-{image.prompt}": image.key for image in plan.images}


def test_an_embedding_decides_the_images_whose_prompts_use_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        embedding(tmp_path, f"{name}.safetensors", f"<{name}>")
    prompts = ("prompt: a star", "prompt: a <A>", "prompt: a star, negative_prompt: <b>")
    adapters = "".join(f"  {name}: {{kind: textual_inversion, model: {name}.safetensors}}\n" for name in ("a", "b"))
    without = keys(recipe_runner.compile_recipe(written(tmp_path, "", *prompts)))
    plan = recipe_runner.compile_recipe(written(tmp_path, adapters, *prompts))
    found = keys(plan)
    assert found["0-p0"] == without["0-p0"]
    assert found["0-p1"] != without["0-p1"]
    assert found["0-p2"] != without["0-p2"]
    # The contents decide, and the token; not the adapter's name, nor another embedding.
    renamed = adapters.replace("  a:", "  other:").replace("model: b.", "model: c.")
    embedding(tmp_path, "c.safetensors", "<b>", count=3)
    again = keys(recipe_runner.compile_recipe(written(tmp_path, renamed, *prompts)))
    assert (again["0-p1"], again["0-p2"] == found["0-p2"]) == (found["0-p1"], False)


def test_a_batch_has_the_adapters_of_all_its_prompts(tmp_path: Path) -> None:
    embedding(tmp_path, "a.safetensors", "<a>")
    adapters = "  a: {kind: textual_inversion, model: a.safetensors}\n"
    path = written(tmp_path, adapters, "prompt: a star", "prompt: a <a>")
    plan = recipe_runner.compile_recipe(path, ["runtime.reproducibility=fast", "runtime.batch_size=2"])
    (denoise,) = [node for node in plan.graph if node.operation == "denoise"]
    added = plan.graph[plan.graph[denoise.inputs["model"]].inputs["model"]]
    assert added.operation == "add_textual_inversion"


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_hash_seed_does_not_change_a_plan(seed: str, tmp_path: Path) -> None:
    names = ("bad-artist-2", "bad-artist", "bad", "artist")
    for name in names:
        embedding(tmp_path, f"{name}.safetensors", name)
    adapters = "".join(f"  {name}: {{kind: textual_inversion, model: {name}.safetensors}}\n" for name in names)
    path = written(tmp_path, adapters, "prompt: bad-artist-2 by a bad ARTIST")
    code = f"import recipe_runner; print(recipe_runner.compile_recipe({str(path)!r}).digest)"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.strip() == recipe_runner.compile_recipe(path).digest


def test_a_token_that_only_the_file_names_is_missed_in_the_prompts(tmp_path: Path) -> None:
    embedding(tmp_path, "a.safetensors", "<a>")
    path = written(tmp_path, "  x: {kind: textual_inversion, model: a.safetensors}\n", "prompt: a star")
    (warning,) = prepare(path).warnings
    assert (warning.code, warning.line) == ("W331", 5)
    assert warning.message == "no prompt uses `<a>`, which the file of `x` names"
    assert (
        prepare(written(tmp_path, "  x: {kind: textual_inversion, model: a.safetensors}\n", "prompt: a<A>")).warnings
        == ()
    )


def test_a_pickle_is_planned_like_any_file(tmp_path: Path) -> None:
    tree = {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(3, WIDTH)}, "name": "Inside"}
    torch.save(tree, tmp_path / "file-name.pt")
    path = written(tmp_path, "  x: {kind: textual_inversion, model: file-name.pt}\n", "prompt: inside")
    (adapter,) = recipe_runner.compile_recipe(path).recipe.variants[0].adapters
    assert (adapter.constants()["token"], adapter.tensors) == ("Inside", {"text_encoder": 1})


class Harmful:
    def __reduce__(self) -> Any:  # noqa: D105
        return os.mkdir, ("harm",)


@pytest.mark.parametrize(("allowed", "code"), [("false", "E330"), ("true", "E607")])
def test_a_harmful_pickle_runs_nothing(
    allowed: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"<a>": Harmful()}))
    path = written(tmp_path, "  x: {kind: textual_inversion, model: evil.pt, token: <a>}\n", "prompt: <a>")
    with pytest.raises(RecipeRunnerError) as caught:
        recipe_runner.run_recipe(path, [f"runtime.allow_pickle={allowed}"])
    assert caught.value.problems[0].code == code
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("shapes", "entry", "code", "said"),
    [
        (
            {"emb_params": (2, WIDTH)},
            "",
            "E620",
            "the file (A1111) does not name the token that stands for it in prompts",
        ),
        (
            {"a.lora_up.weight": (2, WIDTH)},
            "",
            "E621",
            "the file is not a textual inversion: it is a LoRA",
        ),
        ({"<a>": (2, 768)}, "", "E622", "<a> has vectors of width 768 (SD 1.x (CLIP ViT-L)), and text_encoder has 128"),
        (
            {"<a>": (2, WIDTH)},
            ", target: text_encoder_2",
            "E334",
            "`StableDiffusionPipeline` has no `text_encoder_2` that takes a textual inversion",
        ),
    ],
)
def test_what_does_not_fit_is_told_while_planning(
    shapes: dict[str, tuple[int, ...]], entry: str, code: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "x.safetensors").write_bytes(whole(shapes))
    path = written(tmp_path, f"  x: {{kind: textual_inversion, model: x.safetensors{entry}}}\n", "prompt: a star")
    with pytest.raises(RecipeRunnerError) as caught:
        recipe_runner.compile_recipe(path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line, said in problem.message) == (code, 5, True), problem
    if code == "E620":
        assert problem.hint == "write `token: x`, or any other word without spaces, and use it in a prompt"


def test_two_files_that_name_one_token_are_refused_while_planning(tmp_path: Path) -> None:
    embedding(tmp_path, "a.safetensors", "<a>")
    embedding(tmp_path, "b.safetensors", "<A>", count=1)
    adapters = "".join(f"  {name}: {{kind: textual_inversion, model: {name}.safetensors}}\n" for name in ("a", "b"))
    with pytest.raises(RecipeRunnerError) as caught:
        recipe_runner.compile_recipe(written(tmp_path, adapters, "prompt: <a>"))
    (problem,) = caught.value.problems
    assert (problem.code, problem.line) == ("E624", 6)
    assert problem.message == "a and b both stand for `<A>` in the text_encoder"


def test_a_plan_says_which_tokens_there_are(tmp_path: Path) -> None:
    embedding(tmp_path, "a.safetensors", "<a>")
    layer = "text_encoder.encoder.layers.0.self_attn.q_proj"
    factors = {f"{layer}.lora_A.weight": (1, WIDTH), f"{layer}.lora_B.weight": (WIDTH, 1)}
    (tmp_path / "b.safetensors").write_bytes(whole({**factors, "bundle_emb.<s1>.emb_params": (3, WIDTH)}))
    adapters = "  a: {kind: textual_inversion, model: a.safetensors}\n  b: {kind: lora, model: b.safetensors}\n"
    prepared = prepare(written(tmp_path, adapters, "prompt: a <a>"))
    found = adapters_of(prepared.plan)
    assert {name: adapter.tokens for name, adapter in found.items()} == {
        "a": {"<a>": {"text_encoder": 2}},
        "b": {"<s1>": {"text_encoder": 3}},
    }
    text = plan_text(prepared.plan, plan_state(prepared.plan, tmp_path / "runs"))
    assert "  adapter a: 1 of 1 tensors, text_encoder 1; token <a> (2 vectors)\n" in text
    assert "  adapter b: 3 of 3 tensors, text_encoder 3; token <s1> (3 vectors)\n" in text
    (warning,) = prepared.warnings
    assert (warning.code, warning.line) == ("W754", 6)
    assert warning.message == "no prompt uses `<s1>`, which `b` was trained with"
    assert prepare(written(tmp_path, adapters, "prompt: a <a> <S1>")).warnings == ()
