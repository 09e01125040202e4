"""The pictures are those of the plain diffusers call, bit for bit, for every architecture whose protocol is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, StableDiffusionPAGPipeline
from support.handles import base_model, handle
from support.plain import our_picture, plain_picture, plain_pipeline

from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.live import LivePipeline

if TYPE_CHECKING:
    from pathlib import Path

STEPS = {"num_inference_steps": 3}
CASES = [
    ("sd15_folder", {}, {}),
    ("sd15_folder", {"negative_prompt": "blurry"}, {"guidance_scale": 3.0, "height": 24, "width": 32}),
    ("sd15_folder", {"negative_prompt": "blurry"}, {"guidance_scale": 1.0}),
    ("sd15_folder", {}, {"eta": 1.0, "guidance_rescale": 0.5}),
    ("sd15_folder", {}, {"height": 32}),
    ("sdxl_folder", {}, {}),
    ("sdxl_folder", {"prompt_2": "film", "negative_prompt": "blurry", "negative_prompt_2": "a bear"}, {"clip_skip": 1}),
    ("sdxl_folder", {}, {"guidance_scale": 1.0, "height": 32, "width": 16}),
    ("sd3_folder", {}, {}),
    ("sd3_folder", {"prompt_3": "a white bear", "negative_prompt": "blurry"}, {"max_sequence_length": 24}),
    ("sd3_folder", {}, {"guidance_scale": 1.0, "height": 32, "width": 16, "clip_skip": 1}),
    ("flux_folder", {}, {"height": 16, "width": 24}),
    (
        "flux_folder",
        {"prompt_2": "film", "negative_prompt": "blurry"},
        {"height": 16, "width": 16, "true_cfg_scale": 2.0},
    ),
    ("flux_folder", {}, {"height": 32, "width": 16, "guidance_scale": 1.0, "max_sequence_length": 16}),
]


@pytest.mark.parametrize(("folder", "texts", "sampling"), CASES)
def test_pictures_equal_the_plain_call(
    folder: str, texts: dict[str, str], sampling: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(folder)
    expected = plain_picture(plain_pipeline(path), "a red circle on blue", 7, **texts, **STEPS, **sampling)
    live = LivePipeline("cpu", "strict", 1)
    made = our_picture(
        live, handle(base_model(path)), {"prompt": "a red circle on blue", **texts}, 7, **STEPS, **sampling
    )
    assert made.dtype == np.uint8
    assert np.array_equal(made, expected)
    assert expected.std() > 5


@pytest.mark.parametrize("level", ["strict", "seeded", "fast"])
def test_every_level_makes_them_on_the_cpu(level: Any, sd15_folder: Path) -> None:
    expected = plain_picture(plain_pipeline(sd15_folder), "a bear", 3, **STEPS)
    made = our_picture(LivePipeline("cpu", level, 1), handle(base_model(sd15_folder)), "a bear", 3, **STEPS)
    assert np.array_equal(made, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("folder", ["sd15_folder", "sdxl_folder"])
def test_half_precision_equals_the_plain_call(folder: str, dtype: str, request: pytest.FixtureRequest) -> None:
    # SDXL's VAE is decoded in float32 when the pipeline is float16 (force_upcast), and cast back.
    path = request.getfixturevalue(folder)
    expected = plain_picture(plain_pipeline(path, dtype=getattr(torch, dtype)), "a bear", 3, **STEPS)
    live = LivePipeline("cpu", "strict", 1)
    for _ in range(2):
        made = our_picture(live, handle(base_model(path, dtype=dtype)), "a bear", 3, **STEPS)
        assert np.array_equal(made, expected)


@pytest.mark.parametrize(
    ("scheduler", "settings"),
    [
        (EulerAncestralDiscreteScheduler, {}),
        (DPMSolverMultistepScheduler, {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"}),
    ],
)
def test_a_scheduler_equals_from_config_on_the_base_s(
    scheduler: Any, settings: dict[str, Any], sd15_folder: Path
) -> None:
    pipeline = plain_pipeline(sd15_folder)
    with quiet():
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **settings)
    expected = plain_picture(pipeline, "a bear", 3, **STEPS)
    base = base_model(sd15_folder, scheduler_class=scheduler.__name__, scheduler_config=settings)
    live = LivePipeline("cpu", "strict", 1)
    first = our_picture(live, handle(base), "a bear", 3, **STEPS)
    second = our_picture(live, handle(base), "a bear", 3, **STEPS)
    assert np.array_equal(first, expected)
    assert np.array_equal(second, expected)


def test_a_pipeline_of_no_known_family_runs_by_its_own_call(sd15_folder: Path) -> None:
    pipeline = StableDiffusionPAGPipeline(**plain_pipeline(sd15_folder).components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    expected = plain_picture(pipeline, "a bear", 3, negative_prompt="blurry", pag_scale=2.0, **STEPS)
    base = base_model(sd15_folder, pipeline="StableDiffusionPAGPipeline")
    texts: dict[str, str | None] = {"prompt": "a bear", "negative_prompt": "blurry"}
    made = our_picture(LivePipeline("cpu", "strict", 1), handle(base), texts, 3, pag_scale=2.0, **STEPS)
    assert np.array_equal(made, expected)


def test_clip_skip_of_sd1_is_the_layer_it_says(sd15_folder: Path) -> None:
    # diffusers' own call raises AttributeError here (with transformers 5), so the embedding is made by hand.
    pipeline = plain_pipeline(sd15_folder)
    ids = pipeline.tokenizer("a bear", padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states
        embeds = pipeline.text_encoder.final_layer_norm(states[-3])
    expected = plain_picture(pipeline, None, 3, prompt_embeds=embeds, negative_prompt="", **STEPS)  # type: ignore[arg-type]
    made = our_picture(
        LivePipeline("cpu", "strict", 1), handle(base_model(sd15_folder)), "a bear", 3, clip_skip=2, **STEPS
    )
    assert np.array_equal(made, expected)


def test_the_fast_level_makes_batches_of_generators_of_their_own(sd15_folder: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    expected = pipeline(["a bear", "a red circle"], generator=generators, **STEPS).images
    live, wanted = LivePipeline("cpu", "fast", 1), handle(base_model(sd15_folder))
    conditionings = [live.encode(wanted, {"prompt": text}) for text in ("a bear", "a red circle")]
    made = live.decode(wanted, live.denoise(wanted, conditionings, [1, 2], STEPS)).images
    assert [np.array_equal(ours, np.asarray(theirs)) for ours, theirs in zip(made, expected, strict=True)] == [
        True,
        True,
    ]
    with pytest.raises(AssertionError, match="BUG"):
        LivePipeline("cpu", "strict", 1).denoise(wanted, conditionings, [1, 2], STEPS)


def test_steps_are_reported(sd15_folder: Path) -> None:
    live, wanted = LivePipeline("cpu", "strict", 1), handle(base_model(sd15_folder))
    seen: list[tuple[int, int]] = []
    live.denoise(
        wanted, [live.encode(wanted, {"prompt": "a"})], [0], STEPS, lambda step, total: seen.append((step, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
