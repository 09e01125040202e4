"""The `parameters` text, as A1111 and its relatives write it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipe_runner.exchange.importers.parameters import read_parameters
from recipe_runner.images.parameters_text import Generation as Written
from recipe_runner.images.parameters_text import UsedLora, parameters_text

LINE = "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 33, Size: 512x768"


def test_the_three_parts() -> None:
    found = read_parameters(f"a bear,\npizza\nNegative prompt: blurry,\ntext\n{LINE}")
    assert found is not None
    assert found.prompts == {"prompt": "a bear,\npizza", "negative_prompt": "blurry,\ntext"}
    assert found.seeds == (33,)
    assert found.sampling == {"num_inference_steps": 20, "guidance_scale": 7.0, "height": 768, "width": 512}
    assert found.sampler == "DPM++ 2M Karras"


def test_no_prompt_at_all() -> None:
    found = read_parameters(LINE)
    assert found is not None
    assert found.prompts == {"prompt": ""}


@pytest.mark.parametrize("text", ["", "a bear", "a: b", "one: two, three: four, five: six", "a\nb: c, d: e"])
def test_what_is_no_parameters_text(text: str) -> None:
    assert read_parameters(text) is None


@pytest.mark.parametrize(
    ("written", "skip"), [("Clip skip: 2", 1), ("CLiP-skip: 3", 2), ("Clip skip: 1", None), ("Steps: 20", None)]
)
def test_clip_skip_counts_from_one_there(written: str, skip: int | None) -> None:
    found = read_parameters(f"a\nSampler: Euler, Seed: 1, CFG scale: 3, {written}")
    assert found is not None
    assert found.sampling.get("clip_skip") == skip


def test_hashes_reach_the_adapters_that_they_are_of() -> None:
    hashes = json.dumps({"model": "aaaaaaaaaa", "lora:style": "123456789abc", "embed:EasyNegative": "c74b4e810b03"})
    found = read_parameters(f"a <lora:style:0.5>\n{LINE}, Model hash: aaaaaaaaaa, Model: dream, Hashes: {hashes}")
    assert found is not None
    assert found.base is not None
    assert (found.base.name, dict(found.base.hashes)) == ("dream", {"Model hash": "aaaaaaaaaa"})
    lora, embedding = found.adapters
    assert (lora.model.name, lora.scale, dict(lora.model.hashes)) == ("style", 0.5, {"AutoV3": "123456789abc"})
    assert (embedding.kind, embedding.token) == ("textual_inversion", "EasyNegative")


def test_a_lora_that_only_the_hashes_name_is_told() -> None:
    found = read_parameters(f'a\n{LINE}, Lora hashes: "style: 123456789abc, other: 0123456789ab"')
    assert found is not None
    assert [each.model.name for each in found.adapters] == ["style", "other"]
    assert sum("at which scale" in sentence for sentence in found.lost) == 2


def test_forge_s_distilled_guidance_is_flux_s() -> None:
    found = read_parameters(
        f"a\n{LINE.replace('CFG scale: 7', 'CFG scale: 1')}, Distilled CFG Scale: 3.5, Version: f2.0"
    )
    assert found is not None
    assert (found.program, found.flow, found.sampling["guidance_scale"]) == ("Forge", True, 3.5)


@pytest.mark.parametrize(("written", "scale"), [("1", None), ("1.0", None), ("0.5", None), ("1.5", 1.5), ("4", 4.0)])
def test_a_guidance_of_one_beside_the_distilled_one_guides_nothing(written: str, scale: float | None) -> None:
    line = LINE.replace("CFG scale: 7", f"CFG scale: {written}, Distilled CFG Scale: 3.5")
    found = read_parameters(f"a bear\n{line}")
    assert found is not None
    assert found.sampling["guidance_scale"] == 3.5
    assert found.sampling.get("true_cfg_scale") == scale


@pytest.mark.parametrize(
    ("pairs", "program"),
    [
        ("Version: f2.0.1v1.10.1-previous-224", "Forge"),
        ("Version: v1.10.1-fixed", "A1111"),
        ("Distilled CFG Scale: 3.5", "Forge"),
        ("Version: ComfyUI", "ComfyUI"),
        ('Civitai resources: [{"type":"checkpoint","modelVersionId":1}]', "Civitai"),
        ("App: SD.Next, Version: f12ab34", "SD.Next"),
        ("Version: v1.9.4, Model: f222", "A1111"),
    ],
)
def test_the_program_is_told_by_its_version(pairs: str, program: str) -> None:
    found = read_parameters(f"a bear\n{LINE}, {pairs}")
    assert found is not None
    assert found.program == program


def test_of_two_equal_keys_the_first_counts() -> None:
    # What an extension appends does not change what the program wrote.
    found = read_parameters(f"a bear\n{LINE}, Steps: 99, Seed: 99, Model: dream, Model: other")
    assert found is not None
    assert (found.sampling["num_inference_steps"], found.seeds) == (20, (33,))
    assert found.base is not None
    assert found.base.name == "dream"


def test_a_model_and_a_vae_each_keep_their_own_hash() -> None:
    found = read_parameters(f"a bear\n{LINE}, Model hash: 1111111111, VAE hash: 2222222222, Model: dream, VAE: soft.pt")
    assert found is not None
    assert found.base is not None
    assert dict(found.base.hashes) == {"Model hash": "1111111111"}
    assert dict(found.components["vae"].hashes) == {"VAE hash": "2222222222"}
    unnamed = read_parameters(f"a bear\n{LINE}, Model hash: 1111111111")
    assert unnamed is not None
    assert unnamed.base is not None
    assert (unnamed.base.name, dict(unnamed.base.hashes)) == ("", {"Model hash": "1111111111"})


def test_a_lora_s_hash_is_found_under_the_name_that_the_list_can_hold() -> None:
    # A1111 leaves colons and commas out there, which its list is made with.
    found = read_parameters(f'a <lora:a,b:0.5>\n{LINE}, Lora hashes: "ab: 123456789abc"')
    assert found is not None
    (lora,) = found.adapters
    assert dict(lora.model.hashes) == {"AutoV3": "123456789abc"}


def test_sd_next_names_diffusers_classes() -> None:
    text = "a\nSteps: 20, Size: 1024x1024, Seed: 7, CFG scale: 6, App: SD.Next, Pipeline: StableDiffusionXLPipeline"
    found = read_parameters(
        f"{text}, Scheduler: EulerAncestralDiscreteScheduler, Operations: txt2img, Model: dream, RNG: CPU"
    )
    assert found is not None
    assert (found.program, found.pipeline) == ("SD.Next", "StableDiffusionXLPipeline")
    assert found.scheduler == ("EulerAncestralDiscreteScheduler", {})
    assert found.lost == ()


def test_civitai_s_resources_are_named_by_number() -> None:
    resources = [
        {"type": "checkpoint", "modelVersionId": 128713, "modelName": "Dream"},
        {"type": "lora", "weight": 0.7, "modelVersionId": 9},
    ]
    found = read_parameters(f"a\n{LINE}, Civitai resources: {json.dumps(resources)}, Civitai metadata: {{}}")
    assert found is not None
    assert found.program == "Civitai"
    assert "Civitai names a lora by its number 9 at 0.7" in found.lost


def test_what_a_recipe_does_not_hold_is_listed() -> None:
    found = read_parameters(
        f'a\n{LINE}, Hires upscale: 2, ControlNet 0: "Module: canny, Weight: 1", ADetailer model: face.pt'
    )
    assert found is not None
    assert found.lost[:3] == ("Hires upscale: 2", "ControlNet 0: Module: canny, Weight: 1", "ADetailer model: face.pt")


def test_one_lora_and_one_weight_of_civitai_s_belong_together() -> None:
    resources = '[{"type":"checkpoint","modelVersionId":1},{"type":"lora","weight":0.6,"modelVersionId":2}]'
    found = read_parameters(f'a\n{LINE}, RNG: CPU, Lora hashes: "detail: e3f9c2b1a8d7", Civitai resources: {resources}')
    assert found is not None
    assert [(each.model.name, each.scale) for each in found.adapters] == [("detail", 0.6)]
    assert found.lost == ("Civitai names a checkpoint by its number 1",)
    two = read_parameters(f'a\n{LINE}, Lora hashes: "x: 0123, y: 4567", Civitai resources: {resources}')
    assert two is not None
    assert "Civitai names a lora by its number 2 at 0.6" in two.lost


def test_a_whole_text_on_one_line() -> None:
    found = read_parameters(
        "a car in fog, Blade Runner Negative prompt: Steps: 23, Sampler: Undefined, CFG scale: 3.5, Seed: 1760020955, "
        'Size: 832x1216, Civitai resources: [{"type":"checkpoint","modelVersionId":2442439,"modelName":"Z Image"}]'
    )
    assert found is not None
    assert found.prompts == {"prompt": "a car in fog, Blade Runner"}
    assert found.sampling["num_inference_steps"] == 23
    assert found.lost == ("Civitai names a checkpoint Z Image by its number 2442439",)


def test_keys_in_another_case_and_a_schedule_under_another_key() -> None:
    found = read_parameters(
        "a\nSteps: 20, Sampler: Euler, Scheduler: Karras, cfg scale: 1, Distilled CFG scale: 3.5, Seed: 7"
    )
    assert found is not None
    assert (found.flow, found.schedule, found.sampling["guidance_scale"]) == (True, "Karras", 3.5)


def test_sd_next_with_a_lora_outside_its_usual_range() -> None:
    found = read_parameters(
        "girl, ponytail,\n<lora:outline_xl:3.0>, line art\nNegative prompt: cropped\nSteps: 20, Size: 1312x1408, "
        "Seed: 1561296656, CFG scale: 6, CFG rescale: 0.7, Model: hassakuXL_v21fix, Model hash: 847403d47a, "
        "App: SD.Next, Version: 8b73cb6, Pipeline: StableDiffusionXLPipeline, Operations: txt2img, RNG: CPU, "
        "LoRA networks: outline_xl"
    )
    assert found is not None
    assert (found.sampling["guidance_rescale"], found.adapters[0].scale, found.lost) == (0.7, 3.0, ())


@pytest.mark.parametrize(
    ("written", "drawn_on"),
    [
        ("Version: v1.10.1", "a GPU"),
        ("Version: v1.10.1, RNG: GPU", "a GPU"),
        ("Version: v1.10.1, RNG: NV", "NV"),
        ("Version: v1.10.1, RNG: CPU", None),
        ("App: SD.Next", "a GPU"),
        ("App: SD.Next, RNG: CPU", None),
        ("Version: f2.0.1", None),
        ("Version: f2.0.1, RNG: GPU", "a GPU"),
        ("Version: recipe_runner, RNG: CPU", None),
    ],
)
def test_noise_of_a_gpu_is_reported_for_each_program(written: str, drawn_on: str | None) -> None:
    found = read_parameters(f"a\nSteps: 20, Sampler: Euler, Seed: 7, {written}")
    assert found is not None
    sentences = [sentence for sentence in found.lost if "noise" in sentence]
    if drawn_on is None:
        assert sentences == []
    else:
        assert sentences == [f"the noise was drawn on {drawn_on}, here on the CPU: the same seed gives another image"]


def test_forge_s_modules_are_reported() -> None:
    found = read_parameters(f"a\n{LINE}, Version: f2.0.1, Module 1: ae, Module 2: t5xxl_fp8_e4m3fn")
    assert found is not None
    assert found.lost == ("Module 1: ae", "Module 2: t5xxl_fp8_e4m3fn")


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60).filter(
    lambda text: "<" not in text and not text.strip().startswith("Negative prompt:")
)


@settings(max_examples=100, deadline=None)
@given(
    prompt=WORDS,
    negative=WORDS,
    seed=st.integers(0, 2**64 - 1),
    scale=st.floats(-2, 2).filter(bool),
    guidance=st.floats(0, 30),
)
def test_our_own_text_says_what_was_written(
    prompt: str, negative: str, seed: int, scale: float, guidance: float
) -> None:
    written = Written(
        prompt=prompt,
        negative_prompt=negative,
        steps=20,
        scheduler_class="EulerDiscreteScheduler",
        guidance_scale=guidance,
        seed=seed,
        width=64,
        height=48,
        clip_skip=1,
        loras=(UsedLora(name="outline", autov3="a" * 64, scale=scale),),
    )
    found = read_parameters(parameters_text(written))
    assert found is not None
    assert found.program == "recipe_runner"
    # A text's lines are stripped, and other separators of lines are line breaks there.
    assert found.prompts["prompt"].split() == prompt.split()
    assert found.prompts.get("negative_prompt", "").split() == negative.split()
    assert found.seeds == (seed,)
    assert found.sampling == {
        "num_inference_steps": 20, "guidance_scale": guidance, "height": 48, "width": 64, "clip_skip": 1,
    }  # fmt: skip
    assert [(each.model.name, each.scale) for each in found.adapters] == [("outline", scale)]
    assert found.lost == ()


@pytest.mark.parametrize(
    "text",
    ["," * 900_000, " " * 900_000, "a:" * 400_000, "a" + " " * 900_000, "\n".join(["a: b"] * 200_000), '"' * 900_000],
)
def test_hostile_texts_cost_no_time(text: str) -> None:
    assert read_parameters(f"{text}\nx") is None
    read_parameters(f"Steps: 1, Seed: 2, Size: 8x8, {text}")
