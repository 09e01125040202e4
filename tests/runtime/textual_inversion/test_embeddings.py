"""Learned tokens in the live pipeline: every layout alike, nothing left behind, and misfits told with their reasons."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.embeddings import a1111, by_encoder, one_key, vectors
from support.handles import base_model, embedding_model, handle, lora_model
from support.loras import diffusers_file, factors
from support.plain import our_picture, plain_picture, plain_pipeline
from support.tiny import clip_tokenizer

import recipe_runner
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.textual_inversion.tokenizer import reading_copy

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedTextualInversion

STEPS = {"num_inference_steps": 2, "guidance_scale": 2.0}
MANY = vectors(3, 5).bfloat16().float()


def live() -> LivePipeline:
    return LivePipeline("cpu", "strict", 1)


@pytest.fixture
def many(tmp_path: Path) -> ResolvedTextualInversion:
    """Five vectors, token `EasyNegative`."""
    return embedding_model(a1111(tmp_path / "many.safetensors", MANY), token="EasyNegative")  # noqa: S106


def with_numbers(path: Path) -> Path:
    torch.save({"<any>": torch.nn.Parameter(MANY), "global_step": 500, "base": "sd"}, path)
    return path


def layouts(folder: Path) -> list[Path]:
    """The vectors of MANY, in every layout with one tensor."""
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(MANY)})
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters}, folder / "old.pt")
    torch.save(MANY, folder / "bare.pt")
    return [
        one_key(folder / "one.safetensors", "<any>", MANY),
        one_key(folder / "one.bin", "<any>", MANY),
        one_key(folder / "half.safetensors", "<any>", MANY.bfloat16()),
        with_numbers(folder / "numbers.bin"),
        a1111(folder / "a.safetensors", MANY),
        a1111(folder / "a.pt", MANY, "any"),
        folder / "old.pt",
        folder / "bare.pt",
    ]


def test_every_layout_makes_one_picture(sd15_folder: Path, tmp_path: Path, many: ResolvedTextualInversion) -> None:
    base = base_model(sd15_folder, allow_pickle=True)
    pipeline = live()
    prompt: dict[str, str | None] = {"prompt": "a bear", "negative_prompt": "EASYNEGATIVE, blurry"}
    expected = our_picture(pipeline, handle(base, many), prompt, 1, **STEPS)
    without = our_picture(pipeline, handle(base), prompt, 1, **STEPS)
    assert not np.array_equal(expected, without)
    for path in layouts(tmp_path):
        model = embedding_model(path, path.name, token="easynegative")  # noqa: S106
        made = our_picture(pipeline, handle(base, model), prompt, 1, **STEPS)
        assert np.array_equal(made, expected), path.name
    assert np.array_equal(our_picture(pipeline, handle(base), prompt, 1, **STEPS), without)


@pytest.mark.parametrize("changes", [{"dtype": "bfloat16"}, {"pipeline": "StableDiffusionPAGPipeline"}])
def test_other_types_and_pipelines_read_tokens_too(
    sd15_folder: Path, many: ResolvedTextualInversion, changes: dict[str, str]
) -> None:
    made = our_picture(live(), handle(base_model(sd15_folder, **changes), many), "a red EasyNegative", 1, **STEPS)
    plain = plain_pipeline(sd15_folder, torch_dtype=getattr(torch, changes.get("dtype", "float32")))
    if "pipeline" in changes:
        import diffusers

        plain = getattr(diffusers, changes["pipeline"]).from_pipe(plain)
        plain.set_progress_bar_config(disable=True)
    plain.load_textual_inversion({"easynegative": MANY})
    assert np.array_equal(made, plain_picture(plain, "a red easynegative", 1, **STEPS))


def test_flux_reads_tokens_in_its_clip_encoder_only(flux_folder: Path, many: ResolvedTextualInversion) -> None:
    made = our_picture(live(), handle(base_model(flux_folder), many), "a red EasyNegative", 1, num_inference_steps=2)
    plain = plain_pipeline(flux_folder)
    plain.load_textual_inversion({"<v>": MANY})
    expected = plain_picture(plain, "a red <v>", 1, prompt_2="a red EasyNegative", num_inference_steps=2)
    assert np.array_equal(made, expected)


def state_of(pipeline: Any) -> dict[str, Any]:
    """All that a learned token could leave behind, by identity and by value."""
    found: dict[str, Any] = {"config": json.dumps(dict(pipeline.config), default=str)}
    for number in ("", "_2"):
        tokenizer, encoder = getattr(pipeline, f"tokenizer{number}"), getattr(pipeline, f"text_encoder{number}")
        found[f"tokenizer{number}"] = (id(tokenizer), len(tokenizer), tokenizer.backend_tokenizer.to_str())
        found[f"config{number}"] = encoder.config.to_json_string()
        found[f"modules{number}"] = [(name, id(module)) for name, module in encoder.named_modules()]
        found[f"hooks{number}"] = [len(module._forward_pre_hooks) for module in encoder.modules()]
        found[f"values{number}"] = {
            name: (tensor.data_ptr(), tensor.sum().item()) for name, tensor in encoder.state_dict().items()
        }
    return found


def test_nothing_is_left_behind(sdxl_folder: Path, tmp_path: Path) -> None:
    base = base_model(sdxl_folder)
    both = embedding_model(by_encoder(tmp_path / "both.safetensors", vectors(1, 3), vectors(2, 2)), token="<hat>")  # noqa: S106
    path = tmp_path / "style.safetensors"
    diffusers_file(path, factors(plain_pipeline(sdxl_folder), 1, ("unet", "text_encoder", "text_encoder_2")))
    pipeline = live()
    # Tokenizers remember how they were called last.
    pipeline.encode(handle(base), {"prompt": "a <hat>"})
    before = state_of(pipeline.require(handle(base)))
    plain = pipeline.encode(handle(base), {"prompt": "a <hat>"})
    torch.manual_seed(5)
    generator = torch.get_rng_state()
    adapted = pipeline.encode(handle(base, both, lora_model(path)), {"prompt": "a <hat>"})
    assert state_of(pipeline.require(handle(base, both))) != before
    assert not torch.equal(adapted.arguments["pooled_prompt_embeds"], plain.arguments["pooled_prompt_embeds"])
    again = pipeline.encode(handle(base), {"prompt": "a <hat>"})
    assert state_of(pipeline.require(handle(base))) == before
    assert torch.equal(torch.get_rng_state(), generator)
    for name, value in plain.arguments.items():
        assert torch.equal(value, again.arguments[name])


def test_a_token_kept_is_read_once(
    sd15_folder: Path, many: ResolvedTextualInversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recipe_runner.runtime.textual_inversion import state as embeddings
    from recipe_runner.runtime.textual_inversion import vocabulary

    base, pipeline = base_model(sd15_folder), live()
    pipeline.require(handle(base, many))
    read: list[Any] = []
    monkeypatch.setattr(embeddings, "read_learned", lambda *args, **_: read.append(args))
    monkeypatch.setattr(vocabulary, "reading_copy", read.append)
    monkeypatch.setattr(vocabulary.Vocabulary, "_prove", lambda *args: read.append(args))
    for adapters in ((), (many,), (), (many,)):
        pipeline.require(handle(base, *adapters))
    assert read == []


def test_an_unused_token_changes_nothing(sd15_folder: Path, many: ResolvedTextualInversion) -> None:
    base, pipeline = base_model(sd15_folder), live()
    without = our_picture(pipeline, handle(base), "a bear, xEasyNegative", 1, **STEPS)
    assert np.array_equal(our_picture(pipeline, handle(base, many), "a bear, xEasyNegative", 1, **STEPS), without)


def test_a_long_prompt_counts_vectors_and_says_the_user_s_words(
    sd15_folder: Path, many: ResolvedTextualInversion
) -> None:
    encoded = live().encode(
        handle(base_model(sd15_folder), many), {"prompt": "a red " * 8 + "EasyNegative, Blurry Film"}
    )
    (warning,) = encoded.warnings
    # A word that is cut in two is told whole.
    (cut,) = live().encode(handle(base_model(sd15_folder)), {"prompt": "a red " * 8 + "a Zebra"}).warnings
    assert cut.message.endswith("it does not see `Zebra`")
    assert (warning.code, "it does not see `EasyNegative, Blurry Film`" in warning.message) == ("W751", True)
    assert "(of `EasyNegative` it reads 2 of 5 vectors)" in warning.message


PIECES = (
    "<cat-toy>",
    "<CAT-toy>",
    "<gta5-artwork>",
    "a",
    "red",
    "bear",
    " ",
    "  ",
    "\n",
    ",",
    ".",
    "<",
    ">",
    "-",
    "_1",
    "9",
)


@settings(max_examples=60, deadline=None, database=None)
@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_tokens_in_brackets_are_read_as_plain_added_tokens_are(text: str) -> None:
    ours, plain = reading_copy(clip_tokenizer()), clip_tokenizer()
    ours.add_vectors(3)
    ours.tokens = {"<cat-toy>": range(1), "<gta5-artwork>": range(1, 3)}
    plain.add_tokens(["<cat-toy>", "<gta5-artwork>", "<second>"])
    # diffusers says the second vector after a space.
    said = text.replace("<gta5-artwork>", "<gta5-artwork> <second>")
    assert ours(text, padding="max_length", truncation=True) == plain(said, padding="max_length", truncation=True)
    assert ours([text, text]).input_ids == [plain(said).input_ids] * 2


def test_a_base_with_tokens_of_its_own_keeps_them(
    sd15_folder: Path, tmp_path: Path, many: ResolvedTextualInversion
) -> None:
    plain = plain_pipeline(sd15_folder)
    plain.load_textual_inversion({"<own>": vectors(9)})
    plain.save_pretrained(tmp_path / "model")
    made = our_picture(live(), handle(base_model(tmp_path / "model"), many), "a <own> EasyNegative", 1, **STEPS)
    plain.load_textual_inversion({"<v>": MANY})
    assert np.array_equal(made, plain_picture(plain, "a <own> <v>", 1, **STEPS))


# -- what does not fit


def refused(base: Path, *adapters: ResolvedAdapter) -> Any:
    with pytest.raises(RecipeRunnerError) as caught:
        live().require(handle(base_model(base, allow_pickle=True), *adapters))
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ([torch.ones(32), torch.ones(32)], "E621", "it holds 2 tensors (0, 1)"),
        (5, "E621", "it is a int, not one token's tensor"),
        ({"string_to_param": {"*": [3]}}, "E621", "string_to_param.* does not hold a tensor"),
        ({"<a>": torch.ones(32), "<b>": torch.ones(32)}, "E621", "it holds 2 tensors"),
        ({"<a>": torch.ones(32, dtype=torch.int64)}, "E621", "<a> holds torch.int64, not floating point numbers"),
        ({"<a>": torch.full((2, 32), torch.nan)}, "E625", "`<t>` of the text_encoder has numbers that are not finite"),
        ({"<a>": torch.ones(48)}, "E622", "<a> has vectors of width 48, and text_encoder has 32"),
        ({"x.lora_down.weight": torch.ones(4, 32)}, "E621", "it is a LoRA"),
        ({}, "E621", "it holds no tensors"),
    ],
)
def test_a_foreign_file_is_told_apart(tmp_path: Path, sd15_folder: Path, content: Any, code: str, said: str) -> None:
    torch.save(content, tmp_path / "foreign.pt")
    problem = refused(sd15_folder, embedding_model(tmp_path / "foreign.pt", token="<t>"))  # noqa: S106
    assert (problem.code, said in problem.message) == (code, True), problem.message


class Harmful:
    def __reduce__(self) -> Any:  # noqa: D105
        return os.mkdir, ("harm",)


def test_a_harmful_pickle_runs_nothing(tmp_path: Path, sd15_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"<a>": Harmful()}, tmp_path / "evil.pt")
    assert refused(sd15_folder, embedding_model(tmp_path / "evil.pt")).code == "E607"
    assert not (tmp_path / "harm").exists()


def test_a_prompt_cannot_make_up_vectors(sd15_folder: Path, many: ResolvedTextualInversion) -> None:
    base, pipeline = base_model(sd15_folder), live()
    prompt = {"prompt": "a \uffff0\uffff\uffff1\uffffx \uffff"}
    plain = pipeline.encode(handle(base), prompt).arguments["prompt_embeds"]
    assert torch.equal(pipeline.encode(handle(base, many), prompt).arguments["prompt_embeds"], plain)


def test_a_pickle_without_a_name_asks_for_a_token(tmp_path: Path, sd15_folder: Path) -> None:
    torch.save(MANY, tmp_path / "bare.pt")
    assert refused(sd15_folder, embedding_model(tmp_path / "bare.pt")).code == "E620"


def test_numbers_too_large_for_the_base_are_refused(tmp_path: Path, sd15_folder: Path) -> None:
    path = one_key(tmp_path / "large.safetensors", "<a>", torch.full((1, 32), 1e6))
    with pytest.raises(RecipeRunnerError) as caught:
        live().require(handle(base_model(sd15_folder, dtype="float16"), embedding_model(path)))
    assert caught.value.problems[0].code == "E625"


def test_two_adapters_with_one_token_are_refused(tmp_path: Path, sd15_folder: Path) -> None:
    first = embedding_model(one_key(tmp_path / "a.safetensors", "<a>", vectors(1)), "a")
    second = embedding_model(one_key(tmp_path / "b.safetensors", "<A>", vectors(2)), "b")
    problem = refused(sd15_folder, first, second)
    assert problem.code == "E624"
    assert problem.message == "a and b both stand for `<A>` in the text_encoder"


# -- the plan and the run agree


def test_the_plan_says_what_lands(sdxl_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(sdxl_folder, tmp_path / "model")
    by_encoder(tmp_path / "both.safetensors", vectors(1), vectors(2))
    one_key(tmp_path / "second.safetensors", "<second>", vectors(3))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "recipe: 1\nname: landing\nbase: {model: model}\nadapters:\n"
        "  both: {kind: textual_inversion, model: both.safetensors, token: <both>}\n"
        "  second: {kind: textual_inversion, model: second.safetensors, target: text_encoder_2}\n"
        "prompts: [{prompt: <both> <second>}]\nsampling: {num_inference_steps: 1}\nruntime: {device: cpu, threads: 1}\n"
    )
    plan = recipe_runner.compile_recipe(recipe)
    planned = {adapter.name: adapter.tensors for adapter in plan.recipe.variants[0].adapters}
    assert planned == {"both": {"text_encoder": 1, "text_encoder_2": 1}, "second": {"text_encoder_2": 1}}
    models = (
        embedding_model(tmp_path / "both.safetensors", "both", token="<both>"),  # noqa: S106
        embedding_model(tmp_path / "second.safetensors", "second", target="text_encoder_2"),
    )
    landed = live().tensor_counts(handle(base_model(tmp_path / "model"), *models))
    assert {name: {part: count for part, (count, _) in parts.items()} for name, parts in landed.items()} == planned
    assert all(count == total for parts in landed.values() for count, total in parts.values())
    manifest = json.loads(
        (recipe_runner.run_recipe(recipe, runs=tmp_path / "runs").folder / "manifest.json").read_text()
    )
    assert [adapter["tensors"] for adapter in manifest["adapters"]] == [
        {"text_encoder": {"matched": 1, "total": 1}, "text_encoder_2": {"matched": 1, "total": 1}},
        {"text_encoder_2": {"matched": 1, "total": 1}},
    ]


# -- tokens inside LoRA files


def lora_with_tokens(folder: Path, base: Path, **tokens: torch.Tensor) -> Path:
    """A LoRA for the text encoder in cloneofsimo's manner: metadata says which keys are learned tokens."""
    path = folder / "tokens.safetensors"
    made = diffusers_file(path, factors(plain_pipeline(base), 1))
    named = {f"<{name}>": value for name, value in tokens.items()}
    save_file({**made, **named}, path, metadata=dict.fromkeys(named, "<embed>"))
    return path


def test_a_lora_brings_its_tokens_along(sd15_folder: Path, tmp_path: Path) -> None:
    base, pipeline = base_model(sd15_folder), live()
    path = lora_with_tokens(tmp_path, sd15_folder, s1=vectors(1)[0], s2=vectors(2, 2))
    lora = lora_model(path)
    tokens = {"<s1>": vectors(1), "<s2>": vectors(2, 2)}
    for scale in (0.0, 0.7):
        plain = plain_pipeline(sd15_folder)
        if scale:
            factors_only = diffusers_file(tmp_path / "plain.safetensors", factors(plain, 1))
            plain.load_lora_weights(dict(factors_only), adapter_name="x")
            plain.set_adapters(["x"], [scale])
        for token, value in tokens.items():
            plain.load_textual_inversion({token: value})
        expected = plain_picture(plain, "a <s1> on <s2>", 1, **STEPS)
        assert np.array_equal(
            our_picture(pipeline, handle(base, lora, style=scale), "a <s1> on <S2>", 1, **STEPS), expected
        )
    # At scale 0 the base is the base wherever no token is used.
    without = our_picture(pipeline, handle(base), "a bear", 1, **STEPS)
    assert np.array_equal(our_picture(pipeline, handle(base, lora, style=0.0), "a bear", 1, **STEPS), without)
    assert pipeline.tensor_counts(handle(base, lora))["style"]["text_encoder"] == (14, 14)


def test_one_lora_file_under_two_names_brings_one_token(sd15_folder: Path, tmp_path: Path) -> None:
    path = lora_with_tokens(tmp_path, sd15_folder, s1=vectors(1))
    live().require(handle(base_model(sd15_folder), lora_model(path, "a"), lora_model(path, "b")))
    other = tmp_path / "other"
    other.mkdir()
    clash = lora_model(lora_with_tokens(other, sd15_folder, s1=vectors(2)), "c")
    assert refused(sd15_folder, lora_model(path, "a"), clash).code == "E624"
    inversion = embedding_model(one_key(tmp_path / "s1.safetensors", "<s1>", vectors(3)))
    assert refused(sd15_folder, lora_model(path, "a"), inversion).code == "E624"
    live().require(handle(base_model(sd15_folder), lora_model(path, "a", target="unet"), clash))


def test_a_token_that_one_encoder_lacks_is_told(sdxl_folder: Path, tmp_path: Path) -> None:
    path = lora_with_tokens(tmp_path, sdxl_folder, s1=vectors(1))
    encoded = live().encode(handle(base_model(sdxl_folder), lora_model(path)), {"prompt": "a <s1>"})
    (warning,) = encoded.warnings
    assert warning.code == "W753"
    assert warning.message == "prompt: text encoder 2 has no vectors for `<s1>` and reads it as plain text"
