"""Compiling: what is shared, what decides an image's key, how images are named and batched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support import resolved as make

from recipe_runner.graph.changed_inputs import changes, inputs_of
from recipe_runner.plan.compile import compile_plan

if TYPE_CHECKING:
    from recipe_runner.plan.compile import Plan


def operations(plan: Plan) -> dict[str, int]:
    count: dict[str, int] = {}
    for node in plan.graph:
        count[node.operation] = count.get(node.operation, 0) + 1
    return count


def keys(plan: Plan) -> list[str]:
    return [image.key for image in plan.images]


def test_images_come_by_prompt_then_seed_and_prompts_are_encoded_once() -> None:
    plan = compile_plan(make.recipe())
    assert [image.path for image in plan.images] == ["bear-1.png", "bear-2.png", "cat-1.png", "cat-2.png"]
    assert operations(plan) == {"load_base": 1, "encode_prompt": 2, "denoise": 4, "decode": 4, "save": 4}


def test_a_sweep_over_a_unet_scale_encodes_each_prompt_once() -> None:
    base = make.base()
    variants = [make.variant(n, base=base, adapters=(make.lora(scale=n / 2),)) for n in range(3)]
    plan = compile_plan(make.recipe(*variants))
    assert operations(plan)["encode_prompt"] == 2
    assert operations(plan)["add_lora"] == 1
    assert operations(plan)["set_scales"] == 3
    assert [image.path for image in plan.images][::4] == ["001-bear-1.png", "002-bear-1.png", "003-bear-1.png"]
    assert len(set(keys(plan))) == 12


def test_a_merge_takes_its_members_as_they_are_on_the_base_alone() -> None:
    plan = compile_plan(
        make.recipe(make.variant(0, adapters=(make.lora("film", sha256="c" * 64), make.merge("a", "b"))))
    )
    assert operations(plan)["add_lora"] == 3
    (merged,) = (node for node in plan.graph if node.operation == "merge_loras")
    model, *members = (plan.graph[key] for key in merged.inputs.values())
    assert model.operation == "add_lora"
    assert [plan.graph[member.inputs["model"]].operation for member in members] == ["load_base", "load_base"]
    assert list(plan.sources()) == ["base", "adapters.film", "adapters.a", "adapters.b"]


def test_only_another_scale_makes_no_other_adapter() -> None:
    lora = make.lora()
    others = [lora.at(0.5), replace(lora, target="unet"), replace(lora, alpha=2.0)]
    variants = [make.variant(n, adapters=(adapter,)) for n, adapter in enumerate((lora, *others))]
    plan = compile_plan(make.recipe(*variants))
    added = [node.constants for node in plan.graph if node.operation == "add_lora"]
    assert added == [{"target": None, "alpha": None}, {"target": "unet", "alpha": None}, {"target": None, "alpha": 2.0}]
    assert len(set(keys(plan))) == 4 * len(variants)


def test_a_sweep_over_a_text_encoder_scale_encodes_each_prompt_anew() -> None:
    base = make.base()
    tensors = {"unet": 4, "text_encoder": 2}
    variants = [make.variant(n, base=base, adapters=(make.lora(scale=n / 2, tensors=tensors),)) for n in range(3)]
    assert operations(compile_plan(make.recipe(*variants)))["encode_prompt"] == 6


@pytest.mark.parametrize("text_encoder", [{}, {"text_encoder": 0.5}])
def test_a_sweep_over_the_unet_s_part_of_a_scale_encodes_each_prompt_once(text_encoder: dict[str, Any]) -> None:
    base, tensors = make.base(), {"unet": 4, "text_encoder": 2}
    scales = [{"unet": {"down": value}, **text_encoder} for value in (0.0, 0.5, 1.0)]
    variants = [
        make.variant(n, base=base, adapters=(make.lora(scale=s, tensors=tensors),)) for n, s in enumerate(scales)
    ]
    plan = compile_plan(make.recipe(*variants))
    assert operations(plan)["encode_prompt"] == 2
    # The text encoders' handle has their part of the scale alone, and the denoiser's has the whole.
    made = [node.constants["scales"] for node in plan.graph if node.operation == "set_scales"]
    assert made == [[scales[0]], [text_encoder], [scales[1]], [scales[2]]]
    encoded = {node.inputs["model"] for node in plan.graph if node.operation == "encode_prompt"}
    assert [plan.graph[key].constants["scales"] for key in encoded] == [[text_encoder]]
    drawn = [plan.graph[node.inputs["model"]].constants["scales"] for node in plan.graph if node.operation == "denoise"]
    assert drawn[::4] == [[scale] for scale in scales]


def test_guidance_above_one_does_not_encode_anew() -> None:
    base = make.base()
    variants = [make.variant(n, base=base, sampling={**make.SAMPLING, "guidance_scale": 5.0 + n}) for n in range(2)]
    assert operations(compile_plan(make.recipe(*variants)))["encode_prompt"] == 2
    variants = [make.variant(n, base=base, sampling={**make.SAMPLING, "guidance_scale": 1.0 + n}) for n in range(2)]
    assert operations(compile_plan(make.recipe(*variants)))["encode_prompt"] == 4


@pytest.mark.parametrize(
    "change",
    [
        {"base": make.base("c" * 64)},
        {"base": make.base(dtype="float16")},
        {"base": make.base(scheduler_class="DDIMScheduler")},
        {"base": make.base(scheduler_config={"eta": 1})},
        {"base": make.base(components={"safety_checker": None})},
        {"adapters": ()},
        {"adapters": (make.lora(scale=0.5),)},
        {"adapters": (make.lora(sha256="d" * 64),)},
        {"adapters": (make.lora(), make.lora("other", sha256="d" * 64))},
        {"prompts": (make.prompt("bear", "a bear"), make.PROMPTS[1])},
        {"sampling": {**make.SAMPLING, "num_inference_steps": 5}},
        {"sampling": {**make.SAMPLING, "clip_skip": 1}},
        {"output": {"format": "webp", "quality": None}},
    ],
)
def test_whatever_decides_an_image_decides_its_key(change: dict[str, Any]) -> None:
    same: dict[str, Any] = {"adapters": (make.lora(),)}
    before = compile_plan(make.recipe(make.variant(**same)))
    after = compile_plan(make.recipe(make.variant(**(same | change))))
    assert keys(before)[0] != keys(after)[0]
    assert before.digest != after.digest


def test_names_that_do_not_decide_an_image_do_not_decide_its_key() -> None:
    before = compile_plan(make.recipe(make.variant(adapters=(make.lora("style"),))))
    renamed = compile_plan(
        make.recipe(
            make.variant(adapters=(make.lora("look"),), prompts=(make.prompt("b", "bear"), make.prompt("c", "cat")))
        )
    )
    assert keys(before) == keys(renamed)
    assert before.digest != renamed.digest


def test_the_order_of_adapters_decides() -> None:
    first, second = make.lora("a", sha256="1" * 64), make.lora("b", sha256="2" * 64)
    one = compile_plan(make.recipe(make.variant(adapters=(first, second))))
    other = compile_plan(make.recipe(make.variant(adapters=(second, first))))
    assert keys(one) != keys(other)


def test_device_and_threads_do_not_decide_but_the_level_does() -> None:
    plan = compile_plan(make.recipe())
    assert keys(plan) == keys(compile_plan(make.recipe(device="cuda:1", threads=2, batch_size=2)))
    assert keys(plan) != keys(compile_plan(make.recipe(reproducibility="seeded")))


def test_the_fast_level_batches_and_a_batch_is_part_of_its_images() -> None:
    plan = compile_plan(make.recipe(reproducibility="fast", batch_size=3))
    assert operations(plan)["denoise"] == 2
    assert len(set(keys(plan))) == 4
    other = compile_plan(make.recipe(make.variant(seeds=(1, 9)), reproducibility="fast", batch_size=3))
    assert keys(plan)[0] != keys(other)[0]


def test_reasons_name_what_changed() -> None:
    before = compile_plan(make.recipe(make.variant(adapters=(make.lora(),))))
    after = compile_plan(
        make.recipe(
            make.variant(adapters=(make.lora(scale=0.5),), sampling={"num_inference_steps": 5, "guidance_scale": 5.0})
        )
    )
    old, new = (inputs_of(plan.graph, plan.images[0].key) for plan in (before, after))
    assert changes(old, new) == ["set_scales.scales: [1.0] → [0.5]", "denoise.sampling.num_inference_steps: 4 → 5"]
    assert changes(new, new) == []
