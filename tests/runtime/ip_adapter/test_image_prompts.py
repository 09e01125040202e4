"""IP-Adapters in the live pipeline: nothing of them remains, nothing is read twice, and they compose."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import AsymmetricAutoencoderKL
from diffusers.utils import load_image
from PIL import Image
from safetensors.torch import save_file
from support.handles import base_model, file_source, handle, ip_adapter_model, lora_model, shown_picture, source
from support.ip_adapters import build_image_encoder, tiny_shapes, write_ip_adapter, write_mask, write_picture
from support.loras import diffusers_file, factors
from support.plain import our_picture, plain_picture, plain_pipeline
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionModelWithProjection

from recipe_runner.images.read import read_picture
from recipe_runner.plan.resolved import ResolvedImagePrompt
from recipe_runner.plan.resolved_base import ResolvedComponent
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.ip_adapter import state as part
from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair, ImageConditioning
from recipe_runner.runtime.ip_adapter.file import IpAdapterFile
from recipe_runner.runtime.ip_adapter.image_encoder import ImageEncoders
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.weights.ip_adapter import ImagePromptShape

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.resolved_base import ResolvedBase

STEPS = {"num_inference_steps": 2, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def folder(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters, an image encoder, pictures and a mask."""
    folder = tmp_path_factory.mktemp("image_prompts")
    pipeline = plain_pipeline(sd15_folder)
    for seed, (name, variant) in enumerate((("look", "base"), ("other", "base"), ("plus", "plus"), ("full", "full"))):
        depth = 2 if variant == "plus" else 4
        write_ip_adapter(folder / f"{name}.safetensors", tiny_shapes(variant, pipeline.unet, depth=depth), seed)
    write_ip_adapter(folder / "face.safetensors", tiny_shapes("faceid", pipeline.unet, lora=2), 9)
    diffusers_file(folder / "style.safetensors", factors(pipeline, 1))
    build_image_encoder(folder / "encoder")
    write_picture(folder / "bear.png", 1)
    write_picture(folder / "fox.png", 2)
    write_mask(folder / "left.png", left=True)
    return folder


@pytest.fixture(scope="module")
def base(sd15_folder: Path) -> ResolvedBase:
    return base_model(sd15_folder)


@pytest.fixture(scope="module")
def adapters(folder: Path) -> dict[str, Any]:
    names = ("look", "other", "plus", "full", "face")
    found: dict[str, Any] = {name: ip_adapter_model(folder / f"{name}.safetensors", name) for name in names}
    return {**found, "style": lora_model(folder / "style.safetensors", "style")}


@pytest.fixture(scope="module")
def shown(folder: Path) -> dict[str, ImageConditioning]:
    """What each adapter is shown: a bear; the face adapter an embedding."""
    encoder = ResolvedComponent(source=source(folder / "encoder"), dtype="float32")
    live = LivePipeline("cpu", "strict", 1)
    found = {
        name: live.encode_image(shown_picture(name, encoder, folder / "bear.png", hidden=name in ("plus", "full")))
        for name in ("look", "other", "plus", "full")
    }
    face = torch.randn(1, 1, 512, generator=torch.Generator().manual_seed(1)) / 20
    return {**found, "face": ImageConditioning(EmbeddingPair(face, torch.zeros_like(face)))}


def picture(
    live: LivePipeline, base: ResolvedBase, adapters: dict[str, Any], shown: dict[str, Any], **scales: Any
) -> Any:
    """One image with the adapters named in `scales`, in that order."""
    wanted = handle(base, *(adapters[name] for name in scales), **scales)
    images = [shown[name] for name, scale in scales.items() if name in shown and scale]
    return our_picture(live, wanted, "a bear", 3, images=images, **STEPS)


def test_the_base_is_bit_identical_after_they_leave(
    sd15_folder: Path, base: ResolvedBase, adapters: dict[str, Any], shown: dict[str, Any]
) -> None:
    untouched = plain_pipeline(sd15_folder).unet
    live = LivePipeline("cpu", "strict", 1)
    unet = live.require(handle(base)).unet
    before = dict(unet.attn_processors)
    attributes = {name: set(module.__dict__) | set(module._modules) for name, module in unet.named_modules()}
    plain = picture(live, base, adapters, shown)
    different = picture(live, base, adapters, shown, look=0.5, face=1.0, plus=0.7, style=0.5)
    assert not np.array_equal(plain, different)
    assert np.array_equal(picture(live, base, adapters, shown), plain)
    assert all(unet.attn_processors[name] is processor for name, processor in before.items())
    assert {n: set(m.__dict__) | set(m._modules) for n, m in unet.named_modules()} == attributes
    assert [type(module) for module in unet.modules()] == [type(module) for module in untouched.modules()]
    assert "encoder_hid_proj" not in unet._modules
    assert (unet.encoder_hid_proj, unet.config.encoder_hid_dim_type) == (None, None)
    assert dict(unet.config) == dict(untouched.config) | {"_name_or_path": unet.config["_name_or_path"]}
    assert all(torch.equal(tensor, unet.state_dict()[name]) for name, tensor in untouched.state_dict().items())


def to_be_trained(unet: Any) -> set[tuple[bool, bool]]:
    """Whether a parameter is a LoRA's, and whether it requires gradients."""
    return {("lora_" in name, parameter.requires_grad) for name, parameter in unet.named_parameters()}


def test_parameters_are_marked_as_diffusers_marks_them(
    sd15_folder: Path, folder: Path, base: ResolvedBase, adapters: dict[str, Any]
) -> None:
    # With masks, the last bits of a picture depend on it.
    plain, live = plain_pipeline(sd15_folder), LivePipeline("cpu", "strict", 1)
    look, style = adapters["look"], adapters["style"]
    plain.load_ip_adapter(folder, subfolder="", weight_name="look.safetensors", image_encoder_folder=None)
    assert to_be_trained(live.require(handle(base, look, look=0.5)).unet) == to_be_trained(plain.unet)
    plain.load_lora_weights(folder, weight_name="style.safetensors")
    marked = to_be_trained(live.require(handle(base, look, style, look=0.5, style=0.5)).unet)
    assert marked == to_be_trained(plain.unet) == {(False, False), (True, True)}
    for wanted in (handle(base, look, look=0.5), handle(base)):
        assert to_be_trained(live.require(wanted).unet) == {(False, True)}


@pytest.mark.parametrize("off", [0, 0.0, {"up": 0}, {"down": {"block_1": [0.0]}, "mid": 0}, {}])
def test_scale_zero_everywhere_is_the_base_and_touches_nothing(
    off: Any, base: ResolvedBase, adapters: dict[str, Any], shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LivePipeline("cpu", "strict", 1)
    plain = picture(live, base, adapters, shown)
    monkeypatch.setattr(part, "build", lambda *_: pytest.fail("it was built"))
    wanted = handle(base, adapters["face"], adapters["look"], face=off, look=off)
    assert np.array_equal(our_picture(live, wanted, "a bear", 3, **STEPS), plain)


def test_a_block_at_zero_is_skipped_and_the_others_act(
    base: ResolvedBase, adapters: dict[str, Any], shown: dict[str, Any]
) -> None:
    live = LivePipeline("cpu", "strict", 1)
    whole = picture(live, base, adapters, shown, look=0.8)
    blocks = {"down": 0.8, "mid": 0.8, "up": {"block_0": [0.8, 0.8]}}
    assert np.array_equal(picture(live, base, adapters, shown, look=blocks), whole)
    assert not np.array_equal(picture(live, base, adapters, shown, look={"up": 0.8}), whole)


def test_scales_and_known_sets_cost_no_reading_and_no_building(
    base: ResolvedBase, adapters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LivePipeline("cpu", "strict", 1)
    for name in ("look", "plus"):
        live.require(handle(base, adapters[name]))
    monkeypatch.setattr(part, "build", lambda *_: pytest.fail("it was built"))
    monkeypatch.setattr(
        "recipe_runner.runtime.ip_adapter.file.read_tensors", lambda *_, **__: pytest.fail("it was read")
    )
    for scale in (0.1, 0.2, {"up": 0.5}):
        unet = live.require(handle(base, adapters["plus"], adapters["look"], plus=scale, look=1.0)).unet
    scales = {tuple(p.scale) for name, p in unet.attn_processors.items() if name.endswith("attn2.processor")}
    assert scales == {(0.5, 1.0), (0.0, 1.0)}
    live.require(handle(base, adapters["look"]))


def test_what_is_kept_is_bounded_and_what_is_at_work_stays(
    base: ResolvedBase, adapters: dict[str, Any], shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = picture(LivePipeline("cpu", "strict", 1), base, adapters, shown, look=0.5, plus=1.0)
    monkeypatch.setattr(part, "MOST_BUILT", 1)
    monkeypatch.setattr("recipe_runner.runtime.ip_adapter.file.MOST_READ", 1)
    live = LivePipeline("cpu", "strict", 1)
    picture(live, base, adapters, shown, other=1.0)
    assert np.array_equal(picture(live, base, adapters, shown, look=0.5, plus=1.0), expected)
    assert live._adapters is not None
    assert len(live._adapters.images._built) == 2


def test_one_file_under_two_names_acts_twice(
    folder: Path, base: ResolvedBase, adapters: dict[str, Any], shown: dict[str, Any]
) -> None:
    twice = {**adapters, "again": ip_adapter_model(folder / "look.safetensors", "again")}
    more = {**shown, "again": shown["look"]}
    live = LivePipeline("cpu", "strict", 1)
    both = picture(live, base, twice, more, look=0.4, again=0.4)
    assert not np.array_equal(both, picture(live, base, twice, more, look=0.4))


def test_loras_and_image_prompts_come_in_any_order(
    base: ResolvedBase, adapters: dict[str, Any], shown: dict[str, Any]
) -> None:
    fresh = picture(LivePipeline("cpu", "strict", 1), base, adapters, shown, look=0.6, style=0.8)
    for path in (({"look": 0.6},), ({"style": 0.8},), ({"face": 1.0}, {"style": 0.3, "plus": 1.0})):
        live = LivePipeline("cpu", "strict", 1)
        for state in path:
            picture(live, base, adapters, shown, **state)
        assert np.array_equal(picture(live, base, adapters, shown, look=0.6, style=0.8), fresh)


def test_a_face_s_lora_goes_when_the_adapter_does(
    base: ResolvedBase, adapters: dict[str, Any], shown: dict[str, Any]
) -> None:
    live = LivePipeline("cpu", "strict", 1)
    style = picture(live, base, adapters, shown, style=0.5)
    assert not np.array_equal(picture(live, base, adapters, shown, face=0.01, style=0.5), style)
    assert np.array_equal(picture(live, base, adapters, shown, face=0, style=0.5), style)


def test_every_tensor_lands_and_the_plan_s_count_is_the_truth(base: ResolvedBase, adapters: dict[str, Any]) -> None:
    live = LivePipeline("cpu", "strict", 1)
    for name in ("look", "plus", "full", "face"):
        counts = live.tensor_counts(handle(base, adapters[name]))[name]
        layout = live._files.read(adapters[name].source, name, allow_pickle=False).layout
        assert {part: count for part, (count, _) in counts.items()} == layout.tensor_counts()
        assert all(landed == count for landed, count in counts.values())
        assert sum(count for _, count in counts.values()) == layout.tensor_count


def test_a_tensor_that_did_not_land_stops_the_run(
    base: ResolvedBase, adapters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    true = IpAdapterFile.attention
    monkeypatch.setattr(
        IpAdapterFile, "attention", lambda file, n: {k: t * torch.rand(()) for k, t in true(file, n).items()}
    )
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu", "strict", 1).require(handle(base, adapters["look"]))
    assert caught.value.problems[0].code == "E606"


def test_a_batch_is_shown_different_images(
    folder: Path, base: ResolvedBase, adapters: dict[str, Any], shown: dict[str, Any]
) -> None:
    encoder = ResolvedComponent(source=source(folder / "encoder"), dtype="float32")
    fox = LivePipeline("cpu").encode_image(shown_picture("plus", encoder, folder / "fox.png", hidden=True))
    live = LivePipeline("cpu", "fast", 1)
    wanted = handle(base, adapters["plus"], plus=1.0)
    text = live.encode(wanted, {"prompt": "a bear"})
    steps = {"num_inference_steps": 3, "guidance_scale": 2.0}
    both = live.denoise(wanted, [text, text], [3, 3], steps, images=[[shown["plus"]], [fox]]).value
    alone = [live.denoise(wanted, [text], [3], steps, images=[[each]]).value[0] for each in (shown["plus"], fox)]
    made, expected = torch.as_tensor(both), torch.stack([torch.as_tensor(each) for each in alone])
    assert (made - expected).abs().max() < (made[0] - made[1]).abs().max() / 1000
    assert "prepare_ip_adapter_image_embeds" not in vars(live.require(wanted))


def test_masks_need_one_for_each_image(folder: Path, base: ResolvedBase, shown: dict[str, Any]) -> None:
    masks = tuple(file_source(folder / "left.png") for _ in range(2))
    look = ip_adapter_model(folder / "look.safetensors", "look", masks=masks)
    with pytest.raises(RecipeRunnerError) as caught:
        picture(LivePipeline("cpu", "strict", 1), base, {"look": look}, shown, look=1.0)
    assert caught.value.problems[0].code == "E647"


def test_the_encoder_s_own_preprocessing_must_fit_it(folder: Path, tmp_path: Path) -> None:
    build_image_encoder(tmp_path / "encoder")
    (tmp_path / "encoder" / "preprocessor_config.json").write_text('{"size": 32, "crop_size": 32}')
    encoder = ResolvedComponent(source=source(tmp_path / "encoder"), dtype="float32")
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu").encode_image(shown_picture("look", encoder, folder / "bear.png"))
    assert caught.value.problems[0].code == "E644"
    (tmp_path / "encoder" / "preprocessor_config.json").write_text('{"size": 16, "crop_size": 16, "do_rescale": false}')
    encoder = ResolvedComponent(source=source(tmp_path / "encoder"), dtype="float32")
    own = LivePipeline("cpu").encode_image(shown_picture("look", encoder, folder / "bear.png"))
    plain = LivePipeline("cpu").encode_image(
        shown_picture(
            "look", ResolvedComponent(source=source(folder / "encoder"), dtype="float32"), folder / "bear.png"
        )
    )
    assert not torch.equal(own.embeds.positive, plain.embeds.positive)


def test_a_picture_overwritten_while_it_is_used_is_noticed(folder: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "bear.png", 1)
    encoder = ResolvedComponent(source=source(folder / "encoder"), dtype="float32")
    prompt = shown_picture("look", encoder, tmp_path / "bear.png")
    write_picture(tmp_path / "bear.png", 2)
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu").encode_image(prompt)
    assert caught.value.problems[0].code == "E508"


def test_an_encoder_overwritten_while_it_is_mapped_is_noticed(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "encoder", tmp_path / "encoder")
    component = ResolvedComponent(source=source(tmp_path / "encoder"), dtype="float32")
    encoders = ImageEncoders(torch.device("cpu"))
    pictures = [read_picture(folder / "bear.png", "bear.png")]
    encoders.encode(component, pictures, "image_embeds", allow_pickle=False)
    with (tmp_path / "encoder/model.safetensors").open("r+b") as file:
        file.seek(-8, 2)
        file.write(bytes(8))
    with pytest.raises(RecipeRunnerError) as caught:
        encoders.encode(component, pictures, "image_embeds", allow_pickle=False)
    assert caught.value.problems[0].code == "E508"


def test_a_whole_clip_model_gives_its_image_encoder(folder: Path, tmp_path: Path) -> None:
    alone = CLIPVisionModelWithProjection.from_pretrained(folder / "encoder")
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=9
    )
    whole = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=alone.config.to_dict(), projection_dim=24))
    whole.vision_model.load_state_dict(alone.vision_model.state_dict())
    whole.visual_projection.load_state_dict(alone.visual_projection.state_dict())
    whole.save_pretrained(tmp_path / "clip")
    made = [
        LivePipeline("cpu").encode_image(
            shown_picture("look", ResolvedComponent(source=source(path), dtype="float32"), folder / "bear.png")
        )
        for path in (folder / "encoder", tmp_path / "clip")
    ]
    assert torch.equal(made[0].embeds.positive, made[1].embeds.positive)


@pytest.mark.parametrize("form", ["turned", "grey", "with alpha", "palette"])
def test_pictures_are_read_as_diffusers_reads_them(form: str, folder: Path, tmp_path: Path) -> None:
    picture = Image.open(folder / "bear.png")
    path = tmp_path / "picture.png"
    if form == "turned":
        exif = Image.Exif()
        exif[274] = 6
        picture.save(path, exif=exif)
    else:
        picture.convert({"grey": "L", "with alpha": "RGBA", "palette": "P"}[form]).save(path)
    made = read_picture(path, "picture")
    assert np.array_equal(np.asarray(made), np.asarray(load_image(str(path))))
    assert made.size == ((20, 24) if form == "turned" else (24, 20))


def test_half_precision(sd15_folder: Path, folder: Path, adapters: dict[str, Any]) -> None:
    half = base_model(sd15_folder, dtype="bfloat16")
    encoder = ResolvedComponent(source=source(folder / "encoder"), dtype="bfloat16")
    live = LivePipeline("cpu", "strict", 1)
    bear = live.encode_image(shown_picture("plus", encoder, folder / "bear.png", hidden=True))
    made = picture(live, half, adapters, {"plus": bear}, plus=0.8)
    with quiet():
        pipeline = plain_pipeline(sd15_folder, dtype=torch.bfloat16)
        write_ip_adapter(folder / "plus-4.safetensors", tiny_shapes("plus", pipeline.unet), 12)
    deep = {"plus": ip_adapter_model(folder / "plus-4.safetensors", "plus")}
    assert not np.array_equal(picture(live, half, deep, {"plus": bear}, plus=0.8), made)
    with quiet():
        vision = CLIPVisionModelWithProjection.from_pretrained(folder / "encoder", dtype=torch.bfloat16)
        pipeline.register_modules(image_encoder=vision)
        pipeline.load_ip_adapter(str(folder), subfolder="", weight_name="plus-4.safetensors")
        pipeline.set_ip_adapter_scale(0.8)
    shown = load_image(str(folder / "bear.png"))
    expected = plain_picture(pipeline, "a bear", 3, ip_adapter_image=shown, **STEPS)
    assert np.array_equal(picture(live, half, deep, {"plus": bear}, plus=0.8), expected)


def test_a_pipeline_of_no_known_family_is_refused(sd15_folder: Path, adapters: dict[str, Any], tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    halves = ("DownEncoderBlock2D",), ("UpDecoderBlock2D",)
    vae = AsymmetricAutoencoderKL(3, 3, halves[0], (32,), 1, halves[1], (32,), 1, norm_num_groups=8)
    pipeline.register_modules(vae=vae)
    with quiet():
        pipeline.save_pretrained(tmp_path)
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu", "strict", 1).require(handle(base_model(tmp_path), adapters["look"]))
    problem = caught.value.problems[0]
    said = "IP-Adapters are not supported for a pipeline with the VAE AsymmetricAutoencoderKL"
    assert (problem.code, problem.message) == ("E649", f"adapter look: {said}")


def test_embeddings_are_read_from_both_formats_and_joined(tmp_path: Path) -> None:
    faces = np.random.default_rng(1).normal(size=(2, 512)).astype(np.float32)
    np.save(tmp_path / "faces.npy", faces)
    save_file({"face": torch.from_numpy(faces[1]).half()}, tmp_path / "one.safetensors")
    shown = ImagePromptShape(count=3, features=None, faces=False, patches=False, negative=True)
    sources = (file_source(tmp_path / "faces.npy"), file_source(tmp_path / "one.safetensors"))
    made = LivePipeline("cpu").encode_image(ResolvedImagePrompt(name="face", shown=shown, embeds=sources)).embeds
    assert made.positive.shape == (1, 3, 512)
    assert torch.equal(made.positive[0, :2], torch.from_numpy(faces))
    assert torch.equal(made.positive[0, 2], made.positive[0, 1].half().float())
    assert made.negative is not None
    assert not made.negative.any()
    np.save(tmp_path / "pair.npy", np.stack([faces, faces * 2])[:, None])
    shown = replace(shown, patches=True)
    pair = ResolvedImagePrompt(name="plus", shown=shown, embeds=(file_source(tmp_path / "pair.npy"),))
    made = LivePipeline("cpu").encode_image(pair).embeds
    assert made.negative is not None
    assert torch.equal(made.negative * 2, made.positive)
    np.save(tmp_path / "bad.npy", faces * np.nan)
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu").encode_image(replace(pair, embeds=(file_source(tmp_path / "bad.npy"),)))
    assert caught.value.problems[0].code == "E646"
