"""IP-Adapters of Flux and Stable Diffusion 3 in the live pipeline: nothing of them remains, and all of them acts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.handles import base_model, file_source, handle, ip_adapter_model, lora_model, source
from support.ip_adapters import (
    TINY_FLUX,
    TINY_SD3,
    build_siglip,
    flux_shapes,
    sd3_shapes,
    write_ip_adapter,
    write_mask,
    write_picture,
)
from support.loras import diffusers_file, factors
from support.plain import our_picture, plain_pipeline
from support.tiny import build_flux, build_sd3
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipVisionModel

from recipe_runner.plan.resolved import ResolvedImagePrompt
from recipe_runner.plan.resolved_base import ResolvedComponent
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.ip_adapter import state as part
from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair, ImageConditioning
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.weights.ip_adapter import ImagePromptShape

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.resolved_base import ResolvedBase

SIZE = {"num_inference_steps": 2, "height": 16, "width": 16}
SAMPLING = {"flux": {**SIZE, "true_cfg_scale": 3.0}, "sd3": {**SIZE, "guidance_scale": 4.0}}
PROMPT: dict[str, str | None] = {"prompt": "a bear", "negative_prompt": "blurry"}
FILES = {
    "flux": {
        "look": flux_shapes(blocks=2, xlabs=True, **TINY_FLUX),
        "other": flux_shapes(blocks=2, xlabs=False, **TINY_FLUX),
    },
    "sd3": {
        "look": sd3_shapes(attentions=3, translated=False, **TINY_SD3),
        "other": sd3_shapes(attentions=3, translated=True, **TINY_SD3, depth=2),
    },
}
ONE = {"flux": (1, 1, 24), "sd3": (1, 1, 4, 16)}
"""Shape of what one image is to the adapters."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of each family, with two adapters and a LoRA."""
    folder = tmp_path_factory.mktemp("transformers")
    build_flux(folder / "flux", num_layers=2)
    build_sd3(folder / "sd3", dual_attention_layers=(0,), qk_norm="rms_norm")
    for family, files in FILES.items():
        for seed, (name, shapes) in enumerate(files.items(), 1):
            write_ip_adapter(folder / f"{family}-{name}.safetensors", shapes, seed)
        pipeline = plain_pipeline(folder / family)
        diffusers_file(folder / f"{family}-style.safetensors", factors(pipeline, 3, ("transformer",)))
    return folder


@pytest.fixture(scope="module", params=["flux", "sd3"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def base(folder: Path, family: str) -> ResolvedBase:
    return base_model(folder / family)


@pytest.fixture(scope="module")
def adapters(folder: Path, family: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: ip_adapter_model(folder / f"{family}-{name}.safetensors", name) for name in ("look", "other")
    }
    return {**found, "style": lora_model(folder / f"{family}-style.safetensors", "style")}


def shown(family: str, seed: int = 1, images: int = 1) -> ImageConditioning:
    """Random embeddings of so many images, and random negative ones."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, images, *ONE[family][2:])
    return ImageConditioning(
        EmbeddingPair(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
    )


def picture(live: LivePipeline, family: str, base: ResolvedBase, adapters: dict[str, Any], **scales: Any) -> Any:
    """One image with the adapters named in `scales`, in that order."""
    wanted = handle(base, *(adapters[name] for name in scales), **scales)
    images = [shown(family, len(name)) for name, scale in scales.items() if name != "style" and scale]
    return our_picture(live, wanted, PROMPT, 3, images=images, **SAMPLING[family])


def test_the_base_is_bit_identical_after_they_leave(
    folder: Path, family: str, base: ResolvedBase, adapters: dict[str, Any]
) -> None:
    untouched = plain_pipeline(folder / family).transformer
    live = LivePipeline("cpu", "strict", 1)
    plain = picture(live, family, base, adapters)
    model = live.require(handle(base)).transformer
    before = dict(model.attn_processors)
    attributes = {name: set(module.__dict__) | set(module._modules) for name, module in model.named_modules()}
    assert not np.array_equal(plain, picture(live, family, base, adapters, look=0.5, style=0.5))
    assert np.array_equal(picture(live, family, base, adapters), plain)
    assert all(model.attn_processors[name] is processor for name, processor in before.items())
    assert {n: set(m.__dict__) | set(m._modules) for n, m in model.named_modules()} == attributes
    assert [type(module) for module in model.modules()] == [type(module) for module in untouched.modules()]
    assert dict(model.config) == dict(untouched.config) | {"_name_or_path": model.config["_name_or_path"]}
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in untouched.state_dict().items())
    assert "prepare_ip_adapter_image_embeds" not in vars(live.require(handle(base)))


STATES: tuple[dict[str, Any], ...] = (
    {},
    {"look": 0.6},
    {"look": {"transformer_blocks": [0.0, 1.0]}},
    {"other": {"transformer_blocks": {"block_0": 1.0}}},
    {"style": 0.7, "look": -0.5},
    {"look": 0.4, "other": 0.9},
)


@pytest.fixture(scope="module")
def fresh(family: str, base: ResolvedBase, adapters: dict[str, Any]) -> list[Any]:
    """The picture of a fresh pipeline in each state; the last is of two adapters, which Flux alone takes."""
    states = STATES if family == "flux" else STATES[:-1]
    return [picture(LivePipeline("cpu", "strict", 1), family, base, adapters, **state) for state in states]


def test_the_states_differ(fresh: list[Any]) -> None:
    assert len({each.tobytes() for each in fresh}) == len(fresh)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(path=st.lists(st.integers(0, len(STATES) - 1), min_size=2, max_size=6), most=st.sampled_from([0, 1, 4]))
def test_any_path_ends_in_a_fresh_pipeline_s_image(
    path: list[int],
    most: int,
    family: str,
    base: ResolvedBase,
    adapters: dict[str, Any],
    fresh: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(part, "MOST_BUILT", most)
    live = LivePipeline("cpu", "strict", 1)
    for index in (number % len(fresh) for number in path):
        assert np.array_equal(picture(live, family, base, adapters, **STATES[index]), fresh[index])


@pytest.mark.parametrize("off", [0, {"transformer_blocks": [0.0, 0.0]}, {}])
def test_scale_zero_everywhere_is_the_base_and_touches_nothing(
    off: Any, family: str, base: ResolvedBase, adapters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LivePipeline("cpu", "strict", 1)
    plain = picture(live, family, base, adapters)
    monkeypatch.setattr(part, "build", lambda *_: pytest.fail("it was built"))
    wanted = handle(base, adapters["look"], look=off)
    assert np.array_equal(our_picture(live, wanted, PROMPT, 3, **SAMPLING[family]), plain)


def test_every_tensor_lands_and_the_plan_s_count_is_the_truth(base: ResolvedBase, adapters: dict[str, Any]) -> None:
    live = LivePipeline("cpu", "strict", 1)
    for name in ("look", "other"):
        counts = live.tensor_counts(handle(base, adapters[name]))[name]
        layout = live._files.read(adapters[name].source, name, allow_pickle=False).layout
        assert {part: count for part, (count, _) in counts.items()} == layout.tensor_counts()
        assert all(landed == count for landed, count in counts.values())
        assert sum(count for _, count in counts.values()) == layout.tensor_count


def test_parameters_are_marked_as_diffusers_marks_them(
    folder: Path, family: str, base: ResolvedBase, adapters: dict[str, Any]
) -> None:
    plain = plain_pipeline(folder / family)
    encoder = {"flux": "image_encoder_pretrained_model_name_or_path", "sd3": "image_encoder_folder"}[family]
    plain.load_ip_adapter(folder, weight_name=f"{family}-look.safetensors", **{encoder: None})
    model = live_transformer(handle(base, adapters["look"], look=0.5))
    assert all(parameter.requires_grad for parameter in plain.transformer.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    ours = {type(processor).__name__ for processor in model.attn_processors.values()}
    assert ours == {type(processor).__name__ for processor in plain.transformer.attn_processors.values()}


def live_transformer(wanted: Any) -> Any:
    return LivePipeline("cpu", "strict", 1).require(wanted).transformer


def test_a_batch_is_shown_different_images(family: str, base: ResolvedBase, adapters: dict[str, Any]) -> None:
    live = LivePipeline("cpu", "fast", 1)
    wanted = handle(base, adapters["look"], look=1.0)
    text = live.encode(wanted, PROMPT)
    images = [[shown(family, 1, 2)], [shown(family, 2, 2)]]
    both = torch.as_tensor(live.denoise(wanted, [text, text], [3, 3], SAMPLING[family], images=images).value)
    alone = [live.denoise(wanted, [text], [3], SAMPLING[family], images=[each]).value[0] for each in images]
    expected = torch.stack([torch.as_tensor(each) for each in alone])
    assert (both - expected).abs().max() < (both[0] - both[1]).abs().max() / 1000


def test_several_images_of_one_adapter(family: str, base: ResolvedBase, adapters: dict[str, Any]) -> None:
    # Also where guidance is on, which diffusers' own call for Stable Diffusion 3 cannot do.
    live = LivePipeline("cpu", "strict", 1)
    wanted = handle(base, adapters["look"], look=1.0)

    def latents(conditioning: ImageConditioning) -> torch.Tensor:
        text = live.encode(wanted, PROMPT)
        return torch.as_tensor(live.denoise(wanted, [text], [3], SAMPLING[family], images=[[conditioning]]).value)

    one, two = shown(family), shown(family, images=2)
    negative = one.embeds.negative
    assert negative is not None
    twice = EmbeddingPair(one.embeds.positive.repeat_interleave(2, 1), negative.repeat_interleave(2, 1))
    different = (latents(two) - latents(one)).abs().max()
    # In Flux the same image twice is that image; in Stable Diffusion 3 it weighs more beside the picture's own tokens.
    if family == "flux":
        assert (latents(ImageConditioning(twice)) - latents(one)).abs().max() < different / 1000
    swapped = EmbeddingPair(
        two.embeds.positive.flip(1), two.embeds.negative.flip(1) if two.embeds.negative is not None else None
    )
    assert (latents(ImageConditioning(swapped)) - latents(two)).abs().max() < different / 1000


def test_skip_layer_guidance_shows_the_positive_image_alone(folder: Path) -> None:
    base, look = base_model(folder / "sd3"), ip_adapter_model(folder / "sd3-look.safetensors", "look")
    live = LivePipeline("cpu", "strict", 1)
    wanted = handle(base, look, look=1.0)
    seen = []
    model = live.require(wanted).transformer
    model.image_proj.projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    conditioning = shown("sd3")
    sampling = {**SAMPLING["sd3"], "skip_guidance_layers": [1], "skip_layer_guidance_stop": 1.0}
    our_picture(live, wanted, PROMPT, 3, images=[conditioning], **sampling)
    skipped = [each for each in seen if len(each) == 1]
    assert skipped
    assert all(torch.equal(each, conditioning.embeds.positive[0]) for each in skipped)


def test_what_the_base_cannot_do_is_refused(folder: Path, family: str, base: ResolvedBase, tmp_path: Path) -> None:
    write_mask(tmp_path / "left.png", left=True)
    path, mask = folder / f"{family}-look.safetensors", file_source(tmp_path / "left.png")
    wanted = [handle(base, ip_adapter_model(path, "look", masks=(mask,)), look=1.0)]
    if family == "sd3":
        wanted.append(handle(base, ip_adapter_model(path, "a"), ip_adapter_model(path, "b"), a=1.0, b=1.0))
    for each in wanted:
        with pytest.raises(RecipeRunnerError) as caught:
            LivePipeline("cpu", "strict", 1).require(each)
        assert caught.value.problems[0].code == "E656"


def test_a_file_of_another_family_is_refused(folder: Path, family: str, base: ResolvedBase) -> None:
    other = "sd3" if family == "flux" else "flux"
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu", "strict", 1).require(handle(base, ip_adapter_model(folder / f"{other}-look.safetensors")))
    assert caught.value.problems[0].code == "E642"


def test_flux_s_guidance_needs_a_negative_prompt_and_then_a_negative_embedding(folder: Path) -> None:
    base, look = base_model(folder / "flux"), ip_adapter_model(folder / "flux-look.safetensors", "look")
    live = LivePipeline("cpu", "strict", 1)
    positive = ImageConditioning(EmbeddingPair(shown("flux").embeds.positive, None))
    our_picture(live, handle(base, look), {"prompt": "a bear"}, 3, images=[positive], **SAMPLING["flux"])
    with pytest.raises(RecipeRunnerError) as caught:
        our_picture(live, handle(base, look), PROMPT, 3, images=[positive], **SAMPLING["flux"])
    assert caught.value.problems[0].code == "E646"


def siglip_prompt(encoder: Path, image: Path) -> ResolvedImagePrompt:
    component = ResolvedComponent(source=source(encoder), dtype="float32")
    reads = ImagePromptShape(
        count=1, features="siglip_hidden_states", faces=False, patches=True, negative=True, paired=True
    )
    return ResolvedImagePrompt(name="look", shown=reads, pictures=(file_source(image),), encoder=component)


def test_the_image_encoder_of_a_whole_siglip_model(tmp_path: Path) -> None:
    build_siglip(tmp_path / "vision")
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    text = {**vision, "vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2}
    config = SiglipConfig(text_config=text, vision_config={**vision, "image_size": 16, "patch_size": 8})
    whole = SiglipModel(config)
    whole.vision_model.load_state_dict(
        {
            key.removeprefix("vision_model."): tensor
            for key, tensor in plain_vision(tmp_path / "vision").state_dict().items()
        }
    )
    whole.save_pretrained(tmp_path / "whole")
    SiglipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "whole")
    write_picture(tmp_path / "bear.png", 1)
    one, other = (
        LivePipeline("cpu").encode_image(siglip_prompt(tmp_path / name, tmp_path / "bear.png"))
        for name in ("vision", "whole")
    )
    assert one.embeds.positive.shape == (1, 1, 4, 16)
    assert torch.equal(one.embeds.positive, other.embeds.positive)
    assert one.embeds.negative is not None
    assert not one.embeds.negative.any()


def plain_vision(folder: Path) -> Any:
    return SiglipVisionModel.from_pretrained(folder)
