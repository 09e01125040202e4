"""The law of the live pipeline: after any sequence of states, an image is the one a fresh pipeline makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.handles import base_model, handle, lora_model
from support.loras import diffusers_file, factors
from support.plain import our_picture, plain_pipeline

from recipe_runner.errors import RecipeRunnerError
from recipe_runner.runtime import loras as loras_part
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.tuners import Tuners

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.handle import BaseModel, LoraModel

STEPS = {"num_inference_steps": 1, "guidance_scale": 2.0}
NAMES = "abc"

State = tuple[int, tuple[tuple[str, float], ...]]
"""Which base, and which adapters in which order at which scale."""

scales = st.sampled_from([0.0, 0.5, 1.0, -0.7])
states = st.tuples(
    st.integers(0, 2),
    st.lists(st.tuples(st.sampled_from(NAMES), scales), max_size=3, unique_by=lambda pair: pair[0]).map(tuple),
)


@pytest.fixture(scope="session")
def loras(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoraModel]:
    """Three LoRAs: both parts, UNet only, text encoder only."""
    folder = tmp_path_factory.mktemp("loras")
    pipeline = plain_pipeline(sd15_folder)
    for name, seed, parts in (("a", 1, ("unet", "text_encoder")), ("b", 2, ("unet",)), ("c", 3, ("text_encoder",))):
        diffusers_file(folder / f"{name}.safetensors", factors(pipeline, seed, parts, rank=seed))
    return {name: lora_model(folder / f"{name}.safetensors", name) for name in NAMES}


@pytest.fixture(scope="session")
def bases(sd15_folder: Path) -> list[BaseModel]:
    """The base; the base with another scheduler; the base in another data type, which is another pipeline."""
    return [
        base_model(sd15_folder),
        base_model(sd15_folder, scheduler_class="EulerAncestralDiscreteScheduler"),
        base_model(sd15_folder, dtype="bfloat16"),
    ]


def picture(live: LivePipeline, state: State, bases: list[BaseModel], loras: dict[str, LoraModel]) -> Any:
    """One image in a state."""
    base, active = state
    wanted = handle(bases[base], *(loras[name] for name, _ in active), **dict(active))
    return our_picture(live, wanted, "a bear", 3, **STEPS)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(sequence=st.lists(states, min_size=2, max_size=5), most=st.sampled_from([0, 1, 8]))
def test_any_sequence_ends_in_a_fresh_pipeline_s_image(
    sequence: list[State],
    most: int,
    bases: list[BaseModel],
    loras: dict[str, LoraModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loras_part, "MOST_LOADED", most)
    monkeypatch.setattr(loras_part, "MOST_TRANSLATED", most)
    live = LivePipeline("cpu", "strict", 1)
    made = [picture(live, state, bases, loras) for state in sequence]
    fresh = picture(LivePipeline("cpu", "strict", 1), sequence[-1], bases, loras)
    assert np.array_equal(made[-1], fresh)
    # And the first again: going back is no other way.
    assert np.array_equal(picture(live, sequence[0], bases, loras), made[0])


def test_the_base_is_bit_identical_after_adapters_leave(
    sd15_folder: Path, bases: list[BaseModel], loras: dict[str, LoraModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loras_part, "MOST_LOADED", 0)
    untouched = plain_pipeline(sd15_folder)
    live = LivePipeline("cpu", "strict", 1)
    picture(live, (0, (("a", 1.0), ("b", 0.5), ("c", 2.0))), bases, loras)
    pipeline = live.require(handle(bases[0]))
    for part in ("unet", "text_encoder", "vae"):
        before, after = getattr(untouched, part), getattr(pipeline, part)
        assert [name for name, _ in before.named_modules()] == [name for name, _ in after.named_modules()]
        assert [type(module) for module in before.modules()] == [type(module) for module in after.modules()]
        assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.state_dict().items())
        assert not hasattr(after, "peft_config")


def test_dropping_idle_adapters_leaves_the_busy_ones_at_work(
    bases: list[BaseModel], loras: dict[str, LoraModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = picture(LivePipeline("cpu", "strict", 1), (0, (("b", 0.5), ("c", 1.0))), bases, loras)
    monkeypatch.setattr(loras_part, "MOST_LOADED", 0)
    live = LivePipeline("cpu", "strict", 1)
    picture(live, (0, (("a", 1.0),)), bases, loras)
    assert np.array_equal(picture(live, (0, (("b", 0.5), ("c", 1.0))), bases, loras), expected)
    assert live._adapters is not None
    part = live._adapters._parts[0]
    assert isinstance(part, loras_part.Loras)
    assert part._tuners["unet"].names == ("adapter_1",)


def test_scales_and_known_adapters_cost_no_reading(
    bases: list[BaseModel], loras: dict[str, LoraModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LivePipeline("cpu", "strict", 1)
    for name in NAMES:
        live.require(handle(bases[0], loras[name]))
    read = []
    monkeypatch.setattr(loras_part, "translate", lambda *args, **_: read.append(args))
    loaded = []
    monkeypatch.setattr(Tuners, "add", lambda *args: loaded.append(args))
    for scale in (0.1, 0.2, 0.3):
        live.require(handle(bases[0], loras["b"], loras["a"], a=scale, b=1.0))
    live.require(handle(bases[1], loras["c"]))
    assert (read, loaded) == ([], [])


def test_a_scale_of_zero_leaves_no_layer_in_the_model(bases: list[BaseModel], loras: dict[str, LoraModel]) -> None:
    live = LivePipeline("cpu", "strict", 1)
    plain = [type(module) for module in live.require(handle(bases[0])).unet.modules()]
    live.require(handle(bases[0], loras["a"], a=1.0))
    assert [type(module) for module in live.require(handle(bases[0], loras["a"], a=0.0)).unet.modules()] == plain


def test_after_a_failure_nothing_half_changed_is_used(
    bases: list[BaseModel], loras: dict[str, LoraModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LivePipeline("cpu", "strict", 1)
    good = picture(live, (0, (("a", 1.0),)), bases, loras)
    with monkeypatch.context() as patch:
        patch.setattr(Tuners, "holds", lambda *_: 0)
        with pytest.raises(RecipeRunnerError) as caught:
            picture(live, (0, (("a", 1.0), ("b", 1.0))), bases, loras)
    assert caught.value.problems[0].code == "E606"
    assert live._base is None
    assert np.array_equal(picture(live, (0, (("a", 1.0),)), bases, loras), good)


def test_an_interruption_throws_the_pipeline_away(bases: list[BaseModel]) -> None:
    live = LivePipeline("cpu", "strict", 1)
    wanted = handle(bases[0])
    conditioning = live.encode(wanted, {"prompt": "a"})

    def interrupt(_step: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        live.denoise(wanted, [conditioning], [0], {"num_inference_steps": 3}, interrupt)
    assert live._base is None
    assert our_picture(live, wanted, "a", 0, **STEPS).shape == (16, 16, 3)


def test_the_global_generators_are_not_touched(bases: list[BaseModel], loras: dict[str, LoraModel]) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    picture(LivePipeline("cpu", "strict", 1), (1, (("a", 1.0),)), bases, loras)
    assert torch.equal(torch.get_rng_state(), before)
