"""A LoRA is applied whole, as diffusers applies it where diffusers is right, and leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.handles import base_model, handle, lora_model
from support.loras import diffusers_file, factors, kohya_file
from support.plain import our_picture, plain_picture, plain_pipeline

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.live import LivePipeline

if TYPE_CHECKING:
    from pathlib import Path

STEPS = {"num_inference_steps": 2}


def refused(folder: Path, path: Path, **changes: Any) -> RecipeRunnerError:
    """The error that applying the LoRA at `path` raises."""
    live = LivePipeline("cpu", "strict", 1)
    with pytest.raises(RecipeRunnerError) as caught:
        live.require(handle(base_model(folder), lora_model(path, **changes)))
    return caught.value


@pytest.mark.parametrize("scale", [1.0, 0.35, -0.8, 0.0])
@pytest.mark.parametrize(
    ("folder", "parts"),
    [
        ("sd15_folder", ("unet", "text_encoder")),
        ("sdxl_folder", ("unet", "text_encoder", "text_encoder_2")),
        ("sd3_folder", ("transformer",)),
        ("flux_folder", ("transformer",)),
    ],
)
def test_a_number_as_scale_equals_set_adapters(
    folder: str, parts: tuple[str, ...], scale: float, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = request.getfixturevalue(folder)
    pipeline = plain_pipeline(path)
    size = {"height": 16, "width": 16}
    tensors = diffusers_file(tmp_path / "style.safetensors", factors(pipeline, 1, parts))
    untouched = plain_picture(pipeline, "a bear", 3, **STEPS, **size)
    with quiet():
        pipeline.load_lora_weights(dict(tensors), adapter_name="x")
        pipeline.set_adapters(["x"], [scale])
    expected = plain_picture(pipeline, "a bear", 3, **STEPS, **size)
    live = LivePipeline("cpu", "strict", 1)
    base = base_model(path)
    wanted = handle(base, lora_model(tmp_path / "style.safetensors"), style=scale)
    assert np.array_equal(our_picture(live, wanted, "a bear", 3, **STEPS, **size), expected)
    assert np.array_equal(our_picture(live, handle(base), "a bear", 3, **STEPS, **size), untouched)
    assert np.array_equal(expected, untouched) == (scale == 0)
    counts = {part: sum(key.startswith(part + ".") for key in tensors) for part in parts}
    assert live.tensor_counts(wanted) == {"style": {part: (count, count) for part, count in counts.items()}}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_equals_set_adapters(dtype: str, sd15_folder: Path, tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder, dtype=getattr(torch, dtype))
    tensors = diffusers_file(tmp_path / "style.safetensors", factors(pipeline, 1))
    with quiet():
        pipeline.load_lora_weights(dict(tensors), adapter_name="x")
        pipeline.set_adapters(["x"], [0.5])
    expected = plain_picture(pipeline, "a bear", 3, **STEPS)
    wanted = handle(base_model(sd15_folder, dtype=dtype), lora_model(tmp_path / "style.safetensors"), style=0.5)
    assert np.array_equal(our_picture(LivePipeline("cpu", "strict", 1), wanted, "a bear", 3, **STEPS), expected)


def test_several_keep_the_recipe_s_order(sd15_folder: Path, tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    for name, seed, parts in (("a", 1, ("unet", "text_encoder")), ("b", 2, ("unet",)), ("c", 3, ("text_encoder",))):
        tensors = diffusers_file(tmp_path / f"{name}.safetensors", factors(pipeline, seed, parts))
        with quiet():
            pipeline.load_lora_weights(tensors, adapter_name=name)
    live, base = LivePipeline("cpu", "strict", 1), base_model(sd15_folder)
    models = {name: lora_model(tmp_path / f"{name}.safetensors", name) for name in "abc"}
    for order, scales in (("abc", [0.5, 1.0, 2.0]), ("bca", [0.7, 0.2, -0.4]), ("cb", [1.0, 1.0])):
        with quiet():
            pipeline.set_adapters(list(order), scales)
        expected = plain_picture(pipeline, "a bear", 3, **STEPS)
        wanted = handle(base, *(models[name] for name in order), **dict(zip(order, scales, strict=True)))
        assert np.array_equal(our_picture(live, wanted, "a bear", 3, **STEPS), expected)


def test_one_file_under_two_names_is_applied_twice(sd15_folder: Path, tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    tensors = diffusers_file(tmp_path / "a.safetensors", factors(pipeline, 1))
    with quiet():
        for name in "ab":
            pipeline.load_lora_weights(dict(tensors), adapter_name=name)
        pipeline.set_adapters(["a", "b"], [0.5, 0.25])
    expected = plain_picture(pipeline, "a bear", 3, **STEPS)
    models = [lora_model(tmp_path / "a.safetensors", name) for name in "ab"]
    wanted = handle(base_model(sd15_folder), *models, a=0.5, b=0.25)
    assert np.array_equal(our_picture(LivePipeline("cpu", "strict", 1), wanted, "a bear", 3, **STEPS), expected)


@pytest.mark.parametrize(
    "scale",
    [
        {"unet": 0.5, "text_encoder": 0.2},
        {"unet": {"down": 0.3, "up": {"block_0": [0.4, -0.6]}}, "text_encoder": 0.0},
        {"unet": {"mid": 0.1, "down": {"block_1": 2.0}}},
    ],
)
def test_a_scale_per_block_equals_set_adapters(scale: dict[str, Any], sd15_folder: Path, tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    made = {name: pair for name, pair in factors(pipeline, 1).items() if "time_emb" not in name}
    with quiet():
        pipeline.load_lora_weights(diffusers_file(tmp_path / "a.safetensors", made), adapter_name="x")
        pipeline.set_adapters(["x"], [scale])
    expected = plain_picture(pipeline, "a bear", 3, **STEPS)
    wanted = handle(base_model(sd15_folder), lora_model(tmp_path / "a.safetensors"), style=scale)
    assert np.array_equal(our_picture(LivePipeline("cpu", "strict", 1), wanted, "a bear", 3, **STEPS), expected)


@pytest.mark.parametrize(
    ("scale", "code"),
    [
        ({"unnet": 1.0}, "E611"),
        ({"unet": {"up": {"block_9": 1.0}}}, "E611"),
        ({"unet": {"up": {"block_0": [1.0, 2.0, 3.0]}}}, "E612"),
    ],
)
def test_a_scale_that_names_nothing_stops_the_run(
    scale: dict[str, Any], code: str, sd15_folder: Path, tmp_path: Path
) -> None:
    diffusers_file(tmp_path / "a.safetensors", factors(plain_pipeline(sd15_folder), 1))
    live = LivePipeline("cpu", "strict", 1)
    with pytest.raises(RecipeRunnerError) as caught:
        live.require(handle(base_model(sd15_folder), lora_model(tmp_path / "a.safetensors"), style=scale))
    assert caught.value.problems[0].code == code


def test_kohya_files_with_mixed_alphas_equal_the_closed_form(sd15_folder: Path, tmp_path: Path) -> None:
    # diffusers gives every UNet attention the most common alpha; right is W + scale * alpha / rank * up @ down.
    pipeline = plain_pipeline(sd15_folder)
    made = factors(pipeline, 4)
    alphas = {module: (1.0, 2.0, 6.0)[index % 3] for index, module in enumerate(made)}
    kohya_file(tmp_path / "kohya.safetensors", made, alphas)
    live = LivePipeline("cpu", "strict", 1)
    loaded = live.require(handle(base_model(sd15_folder), lora_model(tmp_path / "kohya.safetensors"), style=0.7))
    for place, (down, up) in made.items():
        part, _, name = place.partition(".")
        layer = getattr(loaded, part).get_submodule(name)
        base = layer.get_base_layer()
        delta = (up.double().flatten(1) @ down.double().flatten(1)).reshape(base.weight.shape)
        weight = base.weight.double() + 0.7 * alphas[place] / 4 * delta
        inputs = torch.randn(2, *((base.weight.shape[1], 8, 8) if base.weight.ndim == 4 else (base.weight.shape[1],)))
        with torch.no_grad():
            if base.weight.ndim == 4:
                right = torch.nn.functional.conv2d(
                    inputs.double(), weight, base.bias.double(), base.stride, base.padding
                )
            else:
                right = torch.nn.functional.linear(
                    inputs.double(), weight, None if base.bias is None else base.bias.double()
                )
            error = (layer(inputs).double() - right).norm() / right.norm()
        assert error < 1e-6, place


def test_a_target_takes_its_component_only(sd15_folder: Path, tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    tensors = diffusers_file(tmp_path / "a.safetensors", factors(pipeline, 1))
    with quiet():
        pipeline.unet.load_lora_adapter(dict(tensors), prefix="unet", adapter_name="x")
    expected = plain_picture(pipeline, "a bear", 3, **STEPS)
    live = LivePipeline("cpu", "strict", 1)
    wanted = handle(base_model(sd15_folder), lora_model(tmp_path / "a.safetensors", target="unet"))
    assert np.array_equal(our_picture(live, wanted, "a bear", 3, **STEPS), expected)
    assert list(live.tensor_counts(wanted)["style"]) == ["unet"]


def test_a_text_only_handle_leaves_the_denoiser_alone(sd15_folder: Path, tmp_path: Path) -> None:
    diffusers_file(tmp_path / "a.safetensors", factors(plain_pipeline(sd15_folder), 1))
    live, base = LivePipeline("cpu", "strict", 1), base_model(sd15_folder)
    pipeline = live.require(handle(base, lora_model(tmp_path / "a.safetensors")))
    layer = pipeline.unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q")
    live.require(handle(base), "text")
    assert pipeline.unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q") is layer
    live.require(handle(base))
    assert (
        type(pipeline.unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"))
        is torch.nn.Linear
    )


def test_a_stray_tensor_stops_the_run(sd15_folder: Path, tmp_path: Path) -> None:
    tensors = diffusers_file(tmp_path / "a.safetensors", factors(plain_pipeline(sd15_folder), 1))
    save_file({**tensors, "unet.nowhere.lora_A.weight": torch.zeros(4, 4)}, tmp_path / "a.safetensors")
    (problem,) = refused(sd15_folder, tmp_path / "a.safetensors").problems
    assert problem.code == "E601"
    assert f"1 of {len(tensors) + 1} tensors" in problem.message


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_stops_the_run(number: float, sd15_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    tensors = diffusers_file(path, factors(plain_pipeline(sd15_folder), 1, ("unet",)))
    spoilt = list(tensors)[-1]
    tensors[spoilt][0, 0] = number
    save_file(dict(tensors), path)
    (problem,) = refused(sd15_folder, path).problems
    assert problem.code == "E625"
    assert problem.message == f"adapter style: {spoilt} has numbers that are not finite"


def test_another_architecture_s_lora_stops_the_run(sd15_folder: Path, sdxl_folder: Path, tmp_path: Path) -> None:
    diffusers_file(tmp_path / "a.safetensors", factors(plain_pipeline(sdxl_folder), 1))
    assert refused(sd15_folder, tmp_path / "a.safetensors").problems[0].code in ("E601", "E602")


def test_a_pickled_lora_needs_leave(sd15_folder: Path, tmp_path: Path) -> None:
    tensors = diffusers_file(tmp_path / "a.safetensors", factors(plain_pipeline(sd15_folder), 1))
    torch.save(tensors, tmp_path / "a.bin")
    assert refused(sd15_folder, tmp_path / "a.bin").problems[0].code == "E406"
    base = base_model(sd15_folder, allow_pickle=True)
    live = LivePipeline("cpu", "strict", 1)
    assert live.tensor_counts(handle(base, lora_model(tmp_path / "a.bin")))["style"]["unet"][0] > 0


@pytest.mark.parametrize(("part", "target"), [("unet", None), ("text_encoder", None), ("unet", "unet")])
def test_a_pickled_list_is_up_and_down_in_turn(
    part: str, target: str | None, sd15_folder: Path, tmp_path: Path
) -> None:
    # cloneofsimo's first files name nothing: CLIP's attentions, or the UNet's with each feed-forward's first layer.
    pipeline = plain_pipeline(sd15_folder)
    numbered = numbered_modules(part, pipeline)
    made = factors(pipeline, 1, (part,), rank=2, ends=[name.split(".", 1)[1] for name in numbered])
    torch.save([tensor for name in numbered for tensor in reversed(made[name])], tmp_path / "lora_weight.pt")
    diffusers_file(tmp_path / "named.safetensors", made)
    live, base = LivePipeline("cpu", "strict", 1), base_model(sd15_folder, allow_pickle=True)
    listed = handle(base, lora_model(tmp_path / "lora_weight.pt", target=target))
    expected = our_picture(live, handle(base, lora_model(tmp_path / "named.safetensors")), "a bear", 3, **STEPS)
    assert np.array_equal(our_picture(live, listed, "a bear", 3, **STEPS), expected)
    assert live.tensor_counts(listed) == {"style": {part: (2 * len(numbered), 2 * len(numbered))}}


def numbered_modules(part: str, pipeline: Any) -> list[str]:
    """Modules in the order in which cloneofsimo's trainer met them."""
    if part == "text_encoder":
        layers = range(pipeline.text_encoder.config.num_hidden_layers)
        return [f"text_encoder.encoder.layers.{n}.self_attn.{x}_proj" for n in layers for x in ("k", "v", "q", "out")]
    blocks = [
        name for name, module in pipeline.unet.named_modules() if type(module).__name__ == "BasicTransformerBlock"
    ]
    blocks.sort(key=lambda name: ("down", "up", "mid").index(name.split("_")[0]))
    ends = [f"attn1.{x}" for x in ("to_q", "to_k", "to_v", "to_out.0")] + ["ff.net.0.proj"]
    ends += [f"attn2.{x}" for x in ("to_q", "to_k", "to_v", "to_out.0")]
    return [f"unet.{block}.{end}" for block in blocks for end in ends]


def test_nothing_in_a_pickle_runs(sd15_folder: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save({"unet.x.lora_A.weight": Harm()}, tmp_path / "a.bin")
    live = LivePipeline("cpu", "strict", 1)
    with pytest.raises(RecipeRunnerError) as caught:
        live.require(handle(base_model(sd15_folder, allow_pickle=True), lora_model(tmp_path / "a.bin")))
    assert caught.value.problems[0].code == "E607"
    assert not (tmp_path / "harm").exists()


def test_alpha_may_be_given_to_a_file_that_states_none(sd15_folder: Path, tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    made = factors(pipeline, 1)
    diffusers_file(tmp_path / "a.safetensors", made)
    kohya_file(tmp_path / "k.safetensors", made, dict.fromkeys(made, 2.0))
    live, base = LivePipeline("cpu", "strict", 1), base_model(sd15_folder)
    given = our_picture(live, handle(base, lora_model(tmp_path / "a.safetensors", alpha=2.0)), "a bear", 3, **STEPS)
    stated = our_picture(live, handle(base, lora_model(tmp_path / "k.safetensors")), "a bear", 3, **STEPS)
    assert np.array_equal(given, stated)
    assert refused(sd15_folder, tmp_path / "k.safetensors", alpha=2.0).problems[0].code == "E609"
