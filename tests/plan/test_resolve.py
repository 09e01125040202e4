"""Resolving: what is decided, what variants share and what they do not, and that all mistakes are told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.command import ROOT
from support.safetensors_bytes import whole

import recipe_runner
from recipe_runner.plan.resolve import resolve
from recipe_runner.problems.problem import RecipeRunnerError, ResolutionError
from recipe_runner.recipe.load import load_document
from recipe_runner.recipe.matrix import variants
from recipe_runner.weights.files import digests
from recipe_runner.weights.files.digests import file_sha256, unhashed

if TYPE_CHECKING:
    from recipe_runner.plan.resolved_recipe import ResolvedRecipe
    from recipe_runner.problems.problem import Problem

RECIPE = """\
recipe: 1
name: two-mistakes
base: {model: base}
adapters:
  first: {kind: lora, model: first.safetensors}
  second: {kind: lora, model: second.safetensors}
prompts: [{prompt: a bear}]
matrix:
  adapters.second.scale: [0.1, 0.2, 0.3]
"""


def problems(path: Path) -> tuple[Problem, ...]:
    document = load_document(path).document
    with pytest.raises(RecipeRunnerError) as caught:
        resolve(document, variants(document))
    return caught.value.problems


def test_the_mistakes_of_every_adapter_and_the_base_are_told_at_once(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    (tmp_path / "first.safetensors").write_bytes(whole({"a.lora_A.weight": (4, 4)})[:-1])
    (tmp_path / "second.safetensors").write_bytes(b"<html></html>")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    found = problems(recipe)
    assert [(problem.code, problem.line) for problem in found] == [("E410", 5), ("E411", 6)]
    (tmp_path / "base" / "model_index.json").unlink()
    assert [problem.code for problem in problems(recipe)] == ["E416"]


def test_one_mistake_keeps_its_own_class(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("base: {model: base}", "base: {model: ./nowhere}"))
    document = load_document(recipe).document
    with pytest.raises(ResolutionError, match="E401"):
        resolve(document, variants(document))


def test_unhashed_files_are_told_apart_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"1")
    other.write_bytes(b"1")
    assert file_sha256(one) == file_sha256(other)
    monkeypatch.setattr(digests, "_hash_once", None)
    with unhashed():
        assert file_sha256(one).startswith("unhashed:")
        assert file_sha256(one) == file_sha256(one) != file_sha256(other)


DEMO = ROOT / "recipes/demo"
LORA = f"{DEMO}/lora/outline.safetensors"
OTHER_LORA = f"{DEMO}/lora/gradient.safetensors"
HEART, STAR = f"{DEMO}/inputs/red-heart.png", f"{DEMO}/inputs/yellow-star.png"
LEFT, RIGHT = f"{DEMO}/inputs/left.png", f"{DEMO}/inputs/right.png"
IP = {"kind": "ip_adapter", "model": f"{DEMO}/ip_adapter/ip-adapter_shapes.safetensors", "image": HEART}
FACE = {"kind": "ip_adapter", "model": f"{DEMO}/ip_adapter/ip-adapter-faceid_shapes.safetensors"}
OUTLINE = {"kind": "lora", "model": LORA}
MERGE = {"kind": "merge", "adapters": ["outline", "gradient"], "weights": [1.0, 0.5]}
LORAS = {"outline": OUTLINE, "gradient": {"kind": "lora", "model": OTHER_LORA}}
EQUALS = {"outline": OUTLINE, "kohya": {"kind": "lora", "model": f"{DEMO}/lora/outline-kohya.safetensors"}}
DARE = {**MERGE, "adapters": list(EQUALS), "combination_type": "dare_ties", "density": 0.5, "seed": 1}
TEAL = {"kind": "textual_inversion", "model": f"{DEMO}/embeddings/teal.safetensors"}
ENCODER = f"{DEMO}/ip_adapter/image_encoder"


def written(folder: Path, **sections: Any) -> Path:
    """A recipe of two prompts and one seed with these sections. JSON is YAML."""
    tree = {
        "recipe": 1,
        "name": "varied",
        "base": {"model": f"{DEMO}/model"},
        "prompts": [{"id": "one", "prompt": "a red <teal> star"}, {"id": "two", "prompt": "a blue circle"}],
        "sampling": {"num_inference_steps": 2, "guidance_scale": 5.0},
        **sections,
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(tree))
    return path


def resolved(path: Path) -> ResolvedRecipe:
    document = load_document(path).document
    return resolve(document, variants(document))


def keys(path: Path, overrides: list[str]) -> list[str]:
    return [image.key for image in recipe_runner.compile_recipe(path, overrides).images]


VARIED: list[tuple[dict[str, Any], str, list[Any]]] = [
    ({}, "base.model", [f"{DEMO}/model", f"{DEMO}/dreambooth"]),
    ({}, "base.dtype", ["float32", "bfloat16"]),
    ({}, "base.scheduler", [{"class": "DDIMScheduler"}, {"class": "DDIMScheduler", "config": {"clip_sample": True}}]),
    ({}, "base.components", [{}, {"unet": {"model": f"{DEMO}/dreambooth/unet"}}]),
    (
        {},
        "base.components.unet",
        [{"model": f"{DEMO}/{name}/unet"} for name in ("model", "dreambooth")],
    ),
    ({}, "prompts.one.prompt", ["a red star", "a green star"]),
    ({}, "prompts[1]", [{"id": "two", "prompt": "a square"}, {"id": "two", "prompt": "a ring"}]),
    ({}, "seeds", [[1], [2]]),
    ({}, "sampling.guidance_scale", [5.0, 1.0]),
    ({}, "sampling", [{"num_inference_steps": 3}, {"num_inference_steps": 4}]),
    ({}, "output.format", ["png", "webp"]),
    ({"outline": OUTLINE}, "adapters", [{}, {"outline": OUTLINE}]),
    ({"outline": OUTLINE}, "adapters.outline", [OUTLINE, {**OUTLINE, "scale": 0.5}]),
    ({"outline": OUTLINE}, "adapters.outline.model", [LORA, OTHER_LORA]),
    (
        {"outline": {"kind": "lora", "model": f"{DEMO}/lora"}},
        "adapters.outline.weight_name",
        ["outline.safetensors", "gradient.safetensors"],
    ),
    ({"outline": OUTLINE}, "adapters.outline.target", ["unet", None]),
    ({"outline": OUTLINE}, "adapters.outline.alpha", [4, 8]),
    ({"outline": OUTLINE}, "adapters.outline.scale", [0.5, {"unet": {"down": 0.5}}]),
    ({**LORAS, "mix": MERGE}, "adapters.outline.scale", [0.5, 1.0]),
    ({**LORAS, "mix": MERGE}, "adapters.outline.alpha", [4, 8]),
    ({**LORAS, "mix": MERGE}, "adapters.outline.model", [LORA, OTHER_LORA]),
    ({**LORAS, "mix": MERGE}, "adapters.mix.weights", [[1.0, 0.5], [0.5, 1.0]]),
    ({**LORAS, "mix": MERGE}, "adapters.mix.adapters", [["outline", "gradient"], ["gradient", "outline"]]),
    ({**LORAS, "mix": MERGE}, "adapters.mix.combination_type", ["cat", "svd"]),
    ({**LORAS, "mix": MERGE}, "adapters.mix.scale", [0.5, 1.0]),
    ({**LORAS, "mix": {**MERGE, "combination_type": "svd"}}, "adapters.mix.svd_rank", [2, 3]),
    ({**EQUALS, "mix": DARE}, "adapters.mix.density", [0.5, 0.6]),
    ({**EQUALS, "mix": DARE}, "adapters.mix.seed", [1, 2]),
    ({**EQUALS, "mix": DARE}, "adapters.mix.majority_sign_method", ["total", "frequency"]),
    ({"teal": TEAL}, "adapters.teal.model", [f"{DEMO}/embeddings/{name}.safetensors" for name in ("teal", "brown")]),
    ({"teal": TEAL}, "adapters.teal.token", ["<teal>", "star"]),
    ({"teal": TEAL}, "adapters.teal.target", ["text_encoder", None]),
    ({"look": IP}, "adapters.look.image", [HEART, STAR]),
    ({"look": IP}, "adapters.look.image", [HEART, [HEART, STAR]]),
    ({"look": IP}, "adapters.look.mask", [LEFT, RIGHT]),
    ({"look": IP}, "adapters.look.scale", [0.5, {"up": 1.0}]),
    ({"look": IP}, "adapters.look.scale", [0.0, 1.0]),
    # The image encoder takes the base's type where it has none of its own.
    ({"look": IP}, "base.dtype", ["float32", "bfloat16"]),
    (
        {"look": IP},
        "adapters.look.image_encoder",
        [{"model": ENCODER, "dtype": each} for each in ("float32", "bfloat16")],
    ),
    ({"look": IP}, "prompts.one.images.look", [STAR, RIGHT]),
    ({"look": IP}, "prompts[0].images", [{}, {"look": STAR}]),
    ({"look": FACE}, "adapters.look.image_embeds", [f"{DEMO}/inputs/star.npy", f"{DEMO}/inputs/ring.npy"]),
]


@pytest.mark.parametrize(
    ("adapters", "axis", "values"), VARIED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_variant_is_the_recipe_with_its_value_written_in(
    adapters: dict[str, Any], axis: str, values: list[Any], tmp_path: Path
) -> None:
    # Whatever variants share, each is what it is alone; with a second axis, too.
    alone = written(tmp_path, adapters=adapters)
    steps = [f"sampling={json.dumps({'num_inference_steps': count})}" for count in (5, 6)]
    steps = [] if axis.startswith("sampling") else steps
    wanted = [
        keys(alone, [f"{axis}={json.dumps(value)}", *more])
        for more in ([[step] for step in steps] or [[]])
        for value in values
    ]
    second = {"sampling": [{"num_inference_steps": count} for count in (5, 6)]} if steps else {}
    together = written(tmp_path, adapters=adapters, matrix={**second, axis: values})
    assert keys(together, []) == [key for each in wanted for key in each]
    assert len({tuple(each) for each in wanted}) == len(wanted)


@pytest.mark.parametrize("inner", ["adapters.outline.scale", "adapters.look.image", "prompts.one.images.look"])
def test_what_is_decided_for_one_base_is_not_for_another(inner: str, tmp_path: Path) -> None:
    adapters = {"outline": OUTLINE, "look": IP}
    bases = [f"{DEMO}/model", f"{DEMO}/dreambooth"]
    values: list[Any] = [0.25, 0.75] if inner.endswith("scale") else [HEART, STAR]
    alone = written(tmp_path, adapters=adapters)
    wanted = [keys(alone, [f"base.model={base}", f"{inner}={json.dumps(value)}"]) for base in bases for value in values]
    together = written(tmp_path, adapters=adapters, matrix={"base.model": bases, inner: values})
    assert keys(together, []) == [key for each in wanted for key in each]


@pytest.mark.parametrize("first", ["here", "elsewhere"])
def test_where_an_adapter_lands_is_decided_for_each_base(first: str, tmp_path: Path) -> None:
    bases = [f"{DEMO}/model", "org/elsewhere"]
    bases = bases if first == "here" else bases[::-1]
    path = written(tmp_path, adapters={**LORAS, "mix": MERGE, "teal": TEAL}, matrix={"base.model": bases})
    for base, variant in zip(bases, resolved(path).variants, strict=True):
        known = base != "org/elsewhere"
        assert [adapter.tensors is not None for adapter in variant.adapters] == [known] * 2
        assert [adapter.layout is not None for adapter in variant.adapters[0].with_members()] == [known] * 3


def test_the_defaults_of_a_call_are_those_of_each_pipeline(tmp_path: Path) -> None:
    pipelines = ["StableDiffusionPipeline", "StableDiffusionXLPipeline"]
    base, sampling = {"model": "org/elsewhere"}, {"num_inference_steps": 2}
    path = written(tmp_path, base=base, sampling=sampling, matrix={"base.pipeline": pipelines})
    assert [variant.sampling["guidance_scale"] for variant in resolved(path).variants] == [7.5, 5.0]


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ([7, 3, 7 << 40], (7, 3, 7 << 40)),
        ({"start": 4, "count": 3}, (4, 5, 6)),
        ({"start": 0, "count": 1}, (0,)),
        ({"start": 2**64 - 3, "count": 3}, (2**64 - 3, 2**64 - 2, 2**64 - 1)),
        (None, (0,)),
    ],
)
def test_seeds(seeds: Any, expected: tuple[int, ...], tmp_path: Path) -> None:
    sections = {} if seeds is None else {"seeds": seeds}
    assert resolved(written(tmp_path, **sections)).variants[0].seeds == expected


def test_what_the_recipe_gives_stands_over_the_defaults_of_the_pipeline_s_call(tmp_path: Path) -> None:
    given = {"guidance_scale": 2.5, "clip_skip": 1}
    sampling = resolved(written(tmp_path, sampling=given)).variants[0].sampling
    assert {name: sampling[name] for name in given} == given
    assert sampling["num_inference_steps"] == 50
    assert resolved(written(tmp_path, sampling={})).variants[0].sampling["guidance_scale"] == 7.5


def test_what_no_axis_changes_is_shared_by_all_variants(tmp_path: Path) -> None:
    path = written(tmp_path, adapters={"outline": OUTLINE, "look": IP}, matrix={"adapters.outline.scale": [0.0, 0.5]})
    first, second = resolved(path).variants
    assert first.base is second.base
    assert first.prompts is second.prompts
    assert first.sampling is second.sampling
    assert first.adapters[1] is second.adapters[1]
    assert first.adapters[0].sources["weights"] is second.adapters[0].sources["weights"]
    assert first.adapters[0].layout is second.adapters[0].layout


@pytest.mark.parametrize("axis", ["prompts[0].prompt", "prompts.one.prompt", "prompts[0]", "prompts.one"])
def test_the_place_of_a_prompt_that_an_axis_sets_is_the_axis(axis: str, tmp_path: Path) -> None:
    value = "a ring" if axis.endswith("prompt") else {"id": "one", "prompt": "a ring"}
    path = written(tmp_path, matrix={axis: [value]})
    # One key a line, so that lines tell.
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    lines = path.read_text().splitlines()
    one, two = (prompt.origin.line for prompt in resolved(path).variants[0].prompts)
    assert f'"{axis}"' in lines[one - 1] or f'"{axis}"' in lines[one - 2]
    assert one > two


@pytest.mark.parametrize("axis", ["base.components.vae", "base.components", "base"])
def test_a_mistake_in_what_an_axis_sets_inside_a_section_is_told_at_the_axis(axis: str, tmp_path: Path) -> None:
    wrong: Any = {"model": f"{DEMO}/dreambooth/unet"}
    wrong = wrong if axis.endswith("vae") else {"vae": wrong}
    wrong = wrong if axis != "base" else {"model": f"{DEMO}/model", "components": wrong}
    path = written(tmp_path, matrix={axis: [wrong]})
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    lines = path.read_text().splitlines()
    (problem,) = problems(path)
    assert problem.line >= next(number for number, line in enumerate(lines, 1) if f'"{axis}": [' in line)
