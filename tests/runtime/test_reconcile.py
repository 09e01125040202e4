"""The law of the live pipeline: after any sequence of states, an image is the one a fresh pipeline makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support import lycoris as kinds
from support.embeddings import one_key, vectors
from support.handles import base_model, embedding_model, handle, ip_adapter_model, lora_model
from support.ip_adapters import tiny_shapes, write_ip_adapter
from support.loras import diffusers_file, factors
from support.plain import our_picture, plain_pipeline

from recipe_runner.plan.resolved import ResolvedMerge
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.ip_adapter import file as ip_adapter_file
from recipe_runner.runtime.ip_adapter import state as image_prompts_part
from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair, ImageConditioning
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.lora import state as loras_part
from recipe_runner.runtime.lora.tuners import Tuners

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from recipe_runner.plan.resolved import ResolvedAdapter
    from recipe_runner.plan.resolved_base import ResolvedBase

STEPS = {"num_inference_steps": 1, "guidance_scale": 2.0}

FILES: dict[str, Callable[[Any, Path], object]] = {
    "a": lambda pipeline, path: diffusers_file(path, factors(pipeline, 1, rank=1)),
    "b": lambda pipeline, path: diffusers_file(path, factors(pipeline, 2, ("unet",), rank=2)),
    "c": lambda pipeline, path: diffusers_file(path, factors(pipeline, 3, ("text_encoder",), rank=3)),
    "loha": lambda pipeline, path: whole_file(pipeline, path, {"conv1": kinds.loha, "to_k": kinds.loha}),
    "lokr": lambda pipeline, path: whole_file(pipeline, path, {"to_q": kinds.lokr("whole", "factors")}, text=True),
    "dora": lambda pipeline, path: whole_file(pipeline, path, {"to_v": kinds.dora(kinds.lora, 0)}, text=True),
    "glora": lambda pipeline, path: whole_file(pipeline, path, {"to_q": kinds.glora, "conv2": kinds.glora}),
    "ia3": lambda pipeline, path: whole_file(pipeline, path, {"to_k": kinds.ia3(0), "conv1": kinds.ia3(1)}, text=True),
    "oft": lambda pipeline, path: whole_file(pipeline, path, {"to_q": kinds.oft(1), "conv2": kinds.oft(1)}),
    "boft": lambda pipeline, path: whole_file(pipeline, path, {"to_q": kinds.oft(3), "to_v": kinds.oft(2)}),
    "full": lambda pipeline, path: whole_file(pipeline, path, {"to_q": kinds.full, "norm1": kinds.norm}),
    "tokens": lambda pipeline, path: tokens_file(path, factors(pipeline, 4, ("text_encoder",), rank=2)),
    "<x>": lambda _, path: one_key(path, "<x>", vectors(5)),
    "Easy": lambda _, path: one_key(path, "Easy", vectors(6, 3)),
    "look": lambda pipeline, path: write_ip_adapter(path, tiny_shapes("base", pipeline.unet), 9),
    "plus": lambda pipeline, path: write_ip_adapter(path, tiny_shapes("plus", pipeline.unet, depth=1), 10),
    "face": lambda pipeline, path: write_ip_adapter(path, tiny_shapes("faceid", pipeline.unet, lora=2), 11),
}
"""An adapter of each sort: how its file is written."""
EMBEDDINGS = ("<x>", "Easy")
SHOWN = {"look": (1, 1, 24), "plus": (1, 2, 5, 16), "face": (1, 1, 512)}
"""Shape of what each IP-Adapter is shown: one image of features, two of patches, a face."""
PROMPT = "a bear <x> of easy and <S1>"
NAMES = (*FILES, "merge")

State = tuple[int, tuple[tuple[str, float], ...]]
"""Which base, and which adapters in which order at which scale."""

scales = st.sampled_from([0.0, 0.5, 1.0, -0.7])
states = st.tuples(
    st.integers(0, 2),
    st.lists(st.tuples(st.sampled_from(NAMES), scales), max_size=3, unique_by=lambda pair: pair[0]).map(tuple),
)


def whole_file(pipeline: Any, path: Path, ends: dict[str, kinds.Make], *, text: bool = False) -> None:
    """A LyCORIS file with a kind for the UNet's modules by their names' ends, and one in the text encoder."""
    modules = [name for name, module in pipeline.unet.named_modules() if hasattr(module, "weight")]
    made = {name: make for end, make in ends.items() for name in modules if name.endswith(end)}
    tensors, _ = kinds.file_of(made, pipeline.unet, 7, size=0.1)
    if text:
        layer = {"encoder.layers.1.mlp.fc2": next(iter(ends.values()))}
        tensors |= kinds.file_of(layer, pipeline.text_encoder, 8, size=0.1, prefix="lora_te")[0]
    save_file(tensors, path)


def tokens_file(path: Path, made: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """A LoRA that brings two learned tokens along."""
    tensors = diffusers_file(path, made)
    save_file({**tensors, "bundle_emb.<s1>.emb_params": vectors(7, 2), "bundle_emb.<s2>.emb_params": vectors(8)}, path)


@pytest.fixture(scope="session")
def loras(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ResolvedAdapter]:
    """The adapters of FILES, and a merge of two."""
    folder = tmp_path_factory.mktemp("loras")
    pipeline = plain_pipeline(sd15_folder)
    for name, write in FILES.items():
        write(pipeline, folder / f"{name}.safetensors")
    found: dict[str, ResolvedAdapter] = {name: model_of(name)(folder / f"{name}.safetensors", name) for name in FILES}
    members = tuple(
        lora_model(folder / f"{name}.safetensors", name, scale=scale) for name, scale in {"a": 1.0, "b": 0.5}.items()
    )
    found["merge"] = ResolvedMerge(name="merge", members=members, weights=(0.5, 2.0), combination_type="svd")
    return found


def model_of(name: str) -> Callable[..., ResolvedAdapter]:
    """What makes the model of an adapter of FILES."""
    return embedding_model if name in EMBEDDINGS else ip_adapter_model if name in SHOWN else lora_model


def shown(name: str) -> ImageConditioning:
    """Random embeddings for an IP-Adapter, and random negative ones."""
    generator = torch.Generator().manual_seed(len(name))
    return ImageConditioning(EmbeddingPair(*(torch.randn(SHOWN[name], generator=generator) / 4 for _ in range(2))))


@pytest.fixture(scope="session")
def bases(sd15_folder: Path) -> list[ResolvedBase]:
    """The base; the base with another scheduler; the base in another data type, which is another pipeline."""
    return [
        base_model(sd15_folder),
        base_model(sd15_folder, scheduler_class="EulerAncestralDiscreteScheduler"),
        base_model(sd15_folder, dtype="bfloat16"),
    ]


def picture(live: LivePipeline, state: State, bases: list[ResolvedBase], loras: dict[str, ResolvedAdapter]) -> Any:
    """One image in a state."""
    base, active = state
    wanted = handle(bases[base], *(loras[name] for name, _ in active), **dict(active))
    images = [shown(name) for name, scale in active if name in SHOWN and scale]
    return our_picture(live, wanted, PROMPT, 3, images=images, **STEPS)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(sequence=st.lists(states, min_size=2, max_size=5), most=st.sampled_from([0, 1, 8]))
def test_any_sequence_ends_in_a_fresh_pipeline_s_image(
    sequence: list[State],
    most: int,
    bases: list[ResolvedBase],
    loras: dict[str, ResolvedAdapter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loras_part, "MOST_LOADED", most)
    monkeypatch.setattr(loras_part, "MOST_TRANSLATED", most)
    monkeypatch.setattr(image_prompts_part, "MOST_BUILT", most)
    monkeypatch.setattr(ip_adapter_file, "MOST_READ", max(most, 1))
    live = LivePipeline("cpu", "strict", 1)
    made = [picture(live, state, bases, loras) for state in sequence]
    fresh = picture(LivePipeline("cpu", "strict", 1), sequence[-1], bases, loras)
    assert np.array_equal(made[-1], fresh)
    # And the first again: going back is no other way.
    assert np.array_equal(picture(live, sequence[0], bases, loras), made[0])


def test_the_base_is_bit_identical_after_adapters_leave(
    sd15_folder: Path, bases: list[ResolvedBase], loras: dict[str, ResolvedAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loras_part, "MOST_LOADED", 0)
    untouched = plain_pipeline(sd15_folder)
    live = LivePipeline("cpu", "strict", 1)
    picture(live, (0, tuple((name, 0.5) for name in NAMES)), bases, loras)
    pipeline = live.require(handle(bases[0]))
    for part in ("unet", "text_encoder", "vae"):
        before, after = getattr(untouched, part), getattr(pipeline, part)
        assert [name for name, _ in before.named_modules()] == [name for name, _ in after.named_modules()]
        assert [type(module) for module in before.modules()] == [type(module) for module in after.modules()]
        assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.state_dict().items())
        assert not hasattr(after, "peft_config")


def test_dropping_idle_adapters_leaves_the_busy_ones_at_work(
    bases: list[ResolvedBase], loras: dict[str, ResolvedAdapter], monkeypatch: pytest.MonkeyPatch
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
    bases: list[ResolvedBase], loras: dict[str, ResolvedAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loras_part, "MOST_LOADED", len(NAMES))
    monkeypatch.setattr(loras_part, "MOST_TRANSLATED", len(NAMES))
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


def test_a_scale_of_zero_leaves_no_layer_in_the_model(
    bases: list[ResolvedBase], loras: dict[str, ResolvedAdapter]
) -> None:
    live = LivePipeline("cpu", "strict", 1)
    unet = live.require(handle(bases[0])).unet
    plain = list(unet.modules()), list(map(id, unet.parameters()))
    for name in NAMES:
        live.require(handle(bases[0], loras[name], **{name: 1.0}))
        live.require(handle(bases[0], loras[name], **{name: 0.0}))
        assert (list(unet.modules()), list(map(id, unet.parameters()))) == plain


def test_after_a_failure_nothing_half_changed_is_used(
    bases: list[ResolvedBase], loras: dict[str, ResolvedAdapter], monkeypatch: pytest.MonkeyPatch
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


def test_an_interruption_throws_the_pipeline_away(bases: list[ResolvedBase]) -> None:
    live = LivePipeline("cpu", "strict", 1)
    wanted = handle(bases[0])
    conditioning = live.encode(wanted, {"prompt": "a"})

    def interrupt(_step: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        live.denoise(wanted, [conditioning], [0], {"num_inference_steps": 3}, interrupt)
    assert live._base is None
    assert our_picture(live, wanted, "a", 0, **STEPS).shape == (16, 16, 3)


def test_the_global_generators_are_not_touched(bases: list[ResolvedBase], loras: dict[str, ResolvedAdapter]) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    picture(LivePipeline("cpu", "strict", 1), (1, (("a", 1.0),)), bases, loras)
    assert torch.equal(torch.get_rng_state(), before)
