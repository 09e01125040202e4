"""Planning recipes with IP-Adapters: what does not fit is told at its line, before anything is loaded."""

from __future__ import annotations

import shutil
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from support.ip_adapters import (
    build_image_encoder,
    lora_shapes,
    tiny_shapes,
    write_ip_adapter,
    write_mask,
    write_picture,
)
from support.plain import plain_pipeline

import recipe_runner
from recipe_runner.plan.checks.preflight import fit_warnings
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.recipe.types.recipe import IpAdapter
from recipe_runner.record.documents import resolved_yaml
from recipe_runner.record.manifest import read_manifest
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.compile import Plan

HEAD = """\
recipe: 1
name: case
base: {model: model}
adapters:
"""
TAIL = """\
prompts:
  - {id: star, prompt: a red star}
seeds: [1, 2]
sampling: {num_inference_steps: 2, guidance_scale: 4.0}
runtime: {device: cpu, threads: 1}
"""
LOOK = "  look: {kind: ip_adapter, model: models/look.safetensors, image: bear.png, scale: 0.6}\n"


@pytest.fixture(scope="module")
def folder(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, adapters of every kind, encoders, pictures, masks, embeddings; good ones and bad."""
    folder = tmp_path_factory.mktemp("plans")
    (folder / "model").symlink_to(sd15_folder)
    (folder / "models").mkdir()
    unet = plain_pipeline(sd15_folder).unet
    for variant in ("base", "plus", "full", "faceid", "faceid_plus"):
        write_ip_adapter(folder / f"{variant}.safetensors", tiny_shapes(variant, unet))
    write_ip_adapter(folder / "models" / "look.safetensors", tiny_shapes("base", unet))
    wide = {name: (*s[:-1], 64) if "to_" in name else s for name, s in tiny_shapes("base", unet).items()}
    wide |= {"image_proj.proj.weight": (256, 24), "image_proj.proj.bias": (256,)}
    wide |= {"image_proj.norm.weight": (64,), "image_proj.norm.bias": (64,)}
    write_ip_adapter(folder / "xl.safetensors", wide)
    write_ip_adapter(folder / "short.safetensors", dict(list(tiny_shapes("base", unet).items())[:-1]))
    write_ip_adapter(folder / "lora.safetensors", lora_shapes((32,), 32, 2))
    build_image_encoder(folder / "models" / "image_encoder")
    write_picture(folder / "bear.png", 1)
    write_picture(folder / "fox.jpg", 2)
    write_mask(folder / "left.png", left=True)
    write_mask(folder / "right.png", left=False)
    (folder / "cut.png").write_bytes((folder / "bear.png").read_bytes()[:200])
    (folder / "cut.jpg").write_bytes((folder / "fox.jpg").read_bytes()[:300])
    (folder / "notes.png").write_text("no picture")
    (folder / "bomb.png").write_bytes(huge_png())
    for name, shape in {
        "face": (512,),
        "faces": (2, 512),
        "narrow": (128,),
        "patches": (5, 16),
        "pair": (2, 1, 5, 16),
    }.items():
        np.save(folder / f"{name}.npy", np.ones(shape, np.float32))
    torch.save([torch.ones(1, 1, 24)], folder / "embeds.ipadpt")
    np.save(folder / "whole.npy", np.ones(512, np.int64))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return folder


def huge_png() -> bytes:
    """A small file that claims to be a picture of 60000 times 60000 pixels."""
    head = b"IHDR" + (60_000).to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + head + zlib.crc32(head).to_bytes(4) + bytes(4) + b"IDAT" + bytes(4)


def plan_of(folder: Path, adapters: str, tail: str = TAIL, *overrides: str) -> Plan:
    """The plan of a recipe with these adapters."""
    path = folder / "recipe.yaml"
    path.write_text(HEAD + adapters + tail)
    return recipe_runner.compile_recipe(path, overrides)


def entry(model: str, rest: str, encoder: str = "image_encoder: {model: models/image_encoder}, ") -> str:
    """An adapter on line 5, with the encoder that fits."""
    return f"  look: {{kind: ip_adapter, model: {model}.safetensors, {encoder}{rest}}}\n"


CASES: dict[str, tuple[str, str, str]] = {
    "no ip adapter": (entry("lora", "image: bear.png"), "E640", "no image projection"),
    "not whole": (entry("short", "image: bear.png"), "E641", "is missing"),
    "another unet": (entry("xl", "image: bear.png"), "E642", "the base's is 32"),
    "no encoder": (entry("base", "image: bear.png", ""), "E643", "none is named, in the base, or beside its weights"),
    "single file encoder": (
        entry("base", "image: bear.png", "image_encoder: {model: models/image_encoder/model.safetensors}, "),
        "E643",
        "single file",
    ),
    "an encoder for a face": (entry("faceid", "image_embeds: face.npy"), "E643", "does not use an image encoder"),
    "only a face": (entry("faceid_plus", "image_embeds: face.npy"), "E645", "needs an image of the face"),
    "both": (entry("base", "image: bear.png, image_embeds: face.npy"), "E646", "reads 24 features"),
    "faces and pictures": (
        entry("faceid_plus", "image: bear.png, image_embeds: faces.npy"),
        "E645",
        "1 images for 2 face embeddings",
    ),
    "both for plus": (entry("plus", "image: bear.png, image_embeds: patches.npy"), "E645", "both are given"),
    "narrow face": (entry("faceid", "image_embeds: narrow.npy", ""), "E646", "reads 512 features"),
    "whole numbers": (entry("faceid", "image_embeds: whole.npy", ""), "E646", "the data type is int64"),
    "pickled objects": (entry("faceid", "image_embeds: objects.npy", ""), "E627", "without unpickling"),
    "saved by torch": (entry("base", "image_embeds: embeds.ipadpt"), "E627", "write the embedding with numpy.save"),
    "no negative": (entry("plus", "image_embeds: patches.npy"), "E646", "guidance needs the negative"),
    "masks": (entry("base", "image: bear.png, mask: [left.png, right.png]"), "E647", "2 masks for 1 image"),
    "mask missing": (entry("base", "image: bear.png, mask: up.png"), "E401", "no such file"),
    "picture missing": (
        entry("base", "image: bare.png"),
        "E401",
        "bare.png: no such file or folder beside the recipe did you mean bear.png",
    ),
    "picture is a folder": (entry("base", "image: models"), "E405", "this is a folder, not a file"),
    "no picture": (entry("base", "image: notes.png"), "E648", "not an image of a supported format"),
    "cut png": (entry("base", "image: cut.png"), "E648", "cannot be read"),
    "cut jpeg": (entry("base", "image: cut.jpg"), "E648", "cannot be read"),
    "bomb": (entry("base", "image: bomb.png"), "E648", "are more than the 100000000"),
    "shortcut": (entry("base", "image: bear.png, shortcut: true"), "E650", "is only for FaceID Plus"),
    "no block": (entry("base", "image: bear.png, scale: {up: {block_1: 0.5}}"), "E611", "no such block"),
    "wrong list": (entry("base", "image: bear.png, scale: {up: {block_0: [1, 1, 1]}}"), "E612", "3 numbers"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_told_at_its_line(case: str, folder: Path) -> None:
    adapters, code, words = CASES[case]
    with pytest.raises(RecipeRunnerError) as caught:
        plan_of(folder, adapters)
    problem = caught.value.problems[0]
    assert (problem.code, problem.line) == (code, 5), problem
    assert words in f"{problem.message} {problem.hint}"


def test_a_pipeline_that_they_are_not_applied_to(folder: Path, sd15_folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(sd15_folder, odd)
    for name in ("model_index.json", "vae/config.json"):
        (odd / name).write_text((odd / name).read_text().replace('"AutoencoderKL"', '"AsymmetricAutoencoderKL"'))
    told = {
        "base.pipeline=StableDiffusionSAGPipeline": (
            "StableDiffusionSAGPipeline",
            "StableDiffusionXLPipeline, FluxPipeline and StableDiffusion3Pipeline",
        ),
        f"base.model={odd}": (
            "a pipeline with the VAE AsymmetricAutoencoderKL",
            "AutoencoderKL and AutoencoderTiny",
        ),
    }
    for override, (what, hint) in told.items():
        with pytest.raises(RecipeRunnerError) as caught:
            plan_of(folder, LOOK, TAIL, override)
        problem = caught.value.problems[0]
        assert (problem.code, problem.line) == ("E649", 5)
        assert problem.message == f"adapter look: IP-Adapters are not supported for {what}"
        assert problem.hint.endswith(hint)


def test_an_encoder_of_another_size_is_told_with_the_one_that_fits(folder: Path) -> None:
    build_image_encoder(folder / "other", projection=12)
    with pytest.raises(RecipeRunnerError) as caught:
        plan_of(folder, entry("base", "image: bear.png", "image_encoder: {model: other}, "))
    problem = caught.value.problems[0]
    assert (problem.code, problem.line) == ("E644", 5)
    assert "reads 24 features of an image encoder's projection_dim, and this encoder has 12" in problem.message


def test_a_prompt_s_images_are_checked_at_the_prompt(folder: Path) -> None:
    tail = TAIL.replace("a red star}", "a red star}\n  - {id: two, prompt: a, images: {look: IMAGES}}")
    masked = entry("base", "image: bear.png, mask: left.png")
    for images, code in (("nowhere.png", "E401"), ("[bear.png, fox.jpg]", "E647"), ("notes.png", "E648")):
        with pytest.raises(RecipeRunnerError) as caught:
            plan_of(folder, masked, tail.replace("IMAGES", images))
        assert (caught.value.problems[0].code, caught.value.problems[0].line) == (code, 8)


def test_images_are_encoded_once_for_all_seeds_variants_and_equal_contents(folder: Path) -> None:
    tail = TAIL.replace("a red star}", "a red star}\n  - {id: two, prompt: a, images: {look: copy.png}}")
    tail += "matrix: {adapters.look.scale: [0, 0.5, {up: 1.0}]}\n"
    (folder / "copy.png").write_bytes((folder / "bear.png").read_bytes())
    assert operations(plan_of(folder, LOOK, tail)) == {
        "load_base": 1, "add_ip_adapter": 1, "set_scales": 3, "encode_prompt": 2, "encode_image": 1,
        "denoise": 12, "decode": 12, "save": 12,
    }  # fmt: skip
    other = tail.replace("copy.png", "fox.jpg")
    assert operations(plan_of(folder, LOOK, other))["encode_image"] == 2
    assert "encode_image" not in operations(plan_of(folder, LOOK.replace("0.6", "{down: 0, up: {block_0: [0, 0]}}")))


def operations(plan: Plan) -> dict[str, int]:
    count: dict[str, int] = {}
    for node in plan.graph:
        count[node.operation] = count.get(node.operation, 0) + 1
    return count


def test_a_prompt_of_its_own_images_does_not_depend_on_the_others(folder: Path) -> None:
    tail = TAIL.replace("a red star}", "a red star}\n  - {id: two, prompt: a, images: {look: fox.jpg}}")
    before = plan_of(folder, LOOK, tail).images
    after = plan_of(folder, LOOK.replace("bear.png", "left.png"), tail).images
    same = {image.prompt for image, other in zip(before, after, strict=True) if image.key == other.key}
    assert same == {"two"}


@pytest.mark.parametrize(
    "change",
    ["scale=0.5", "image=fox.jpg", "image=[bear.png, bear.png]", "mask=left.png", "model=plus.safetensors",
     "image_encoder={model: models/image_encoder, dtype: bfloat16}"],
)  # fmt: skip
def test_whatever_decides_an_image_decides_its_key(change: str, folder: Path) -> None:
    adapters = entry("base", "image: bear.png, scale: 0.6")
    before = plan_of(folder, adapters).images
    after = plan_of(folder, adapters, TAIL, f"adapters.look.{change}").images
    assert not {image.key for image in before} & {image.key for image in after}


def test_the_base_s_encoder_comes_before_the_one_beside_the_weights(folder: Path) -> None:
    build_image_encoder(folder / "own", seed=3) if not (folder / "own").exists() else None
    override = "base.components={image_encoder: {model: own}}"
    plan = plan_of(folder, LOOK, TAIL, override)
    sources = plan.sources()
    assert sources["adapters.look.image_encoder"] == sources["base.components.image_encoder"]
    assert (
        plan_of(folder, LOOK).sources()["adapters.look.image_encoder"].digest
        != sources["base.components.image_encoder"].digest
    )


def test_a_batch_is_of_prompts_that_show_equally_many_images(folder: Path) -> None:
    tail = TAIL.replace("seeds: [1, 2]", "seeds: [1]").replace("threads: 1}", "threads: 1, reproducibility: fast}")
    prompts = "".join(f"\n  - {{id: p{n}, prompt: a, images: {{look: {i}}}}}" for n, i in enumerate(
        ("fox.jpg", "[bear.png, fox.jpg]", "[fox.jpg, bear.png]", "bear.png")
    ))  # fmt: skip
    plan = plan_of(folder, LOOK, tail.replace("a red star}", "a red star}" + prompts))
    sizes = [len(node.constants["seeds"]) for node in plan.graph if node.operation == "denoise"]  # type: ignore[arg-type]
    assert sizes == [2, 2, 1]


def test_the_name_tells_version_2_of_face_id_plus(folder: Path) -> None:
    named = folder / "ip-adapter-faceid-plusv2_sd15.safetensors"
    if not named.exists():
        named.symlink_to(folder / "faceid_plus.safetensors")
    shown = "image: bear.png, image_embeds: face.npy"

    def shortcut(adapters: str) -> Any:
        return next(n.constants["shortcut"] for n in plan_of(folder, adapters).graph if n.operation == "add_ip_adapter")

    assert shortcut(entry("ip-adapter-faceid-plusv2_sd15", shown)) is True
    assert shortcut(entry("ip-adapter-faceid-plusv2_sd15", f"{shown}, shortcut: false")) is False
    assert shortcut(entry("faceid_plus", shown)) is False


@pytest.mark.parametrize("name", ["ip-adapter-faceid-plusv2_sd15", "faceid_plus"])
def test_the_version_that_a_name_told_is_written_out(name: str, folder: Path, tmp_path: Path) -> None:
    if not (folder / f"{name}.safetensors").exists():
        (folder / f"{name}.safetensors").symlink_to(folder / "faceid_plus.safetensors")
    plan = plan_of(folder, entry(name, "image: bear.png, image_embeds: face.npy"))
    recipe = recipe_runner.load_recipe(folder / "recipe.yaml")
    (tmp_path / "resolved.yaml").write_text(resolved_yaml(recipe, plan, folder, tmp_path))
    again = recipe_runner.load_recipe(tmp_path / "resolved.yaml").adapters["look"]
    assert isinstance(again, IpAdapter)
    assert again.shortcut is (name != "faceid_plus")
    assert again.image_encoder is not None
    assert recipe_runner.compile_recipe(tmp_path / "resolved.yaml").digest == plan.digest


def test_the_manifest_names_every_picture_and_counts_every_tensor(folder: Path) -> None:
    masks = "image: [bear.png, fox.jpg], mask: [left.png, right.png], scale: 0.5"
    path = folder / "recipe.yaml"
    path.write_text(HEAD + entry("plus", masks) + TAIL.replace("[1, 2]", "[1]"))
    run = recipe_runner.run_recipe(path, runs=folder / "runs")
    manifest = read_manifest(run.folder / "manifest.json")
    assert [source.role for source in manifest.sources] == [
        "base",
        "adapters.look",
        "adapters.look.mask[0]",
        "adapters.look.mask[1]",
        "adapters.look.image[0]",
        "adapters.look.image[1]",
        "adapters.look.image_encoder",
    ]
    (adapter,) = manifest.adapters
    assert {name: (match.matched, match.total) for name, match in adapter.tensors.items()} == {
        "unet": (8, 8),
        "image_proj": (51, 51),
    }
    again = recipe_runner.run_recipe(run.folder / "resolved.yaml", runs=folder / "again")
    assert again.plan_digest == run.plan_digest


def test_the_base_s_encoder_is_the_one_that_encodes(folder: Path) -> None:
    build_image_encoder(folder / "own", seed=3) if not (folder / "own").exists() else None
    path = folder / "recipe.yaml"
    pictures = []
    for overrides in (
        ["base.components={image_encoder: {model: own}}"],
        ["adapters.look.image_encoder={model: own}"],
        [],
    ):
        path.write_text(HEAD + LOOK + TAIL.replace("[1, 2]", "[1]"))
        run = recipe_runner.run_recipe(path, overrides, runs=folder / "runs")
        pictures.append(read_manifest(run.folder / "manifest.json").images[0].pixel_sha256)
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_mask_of_another_shape_is_told(folder: Path) -> None:
    adapters = entry("base", "image: bear.png, mask: left.png")
    wide = TAIL.replace("num_inference", "height: 16, width: 32, num_inference").replace("[1, 2]", "[1]")
    assert [problem.code for problem in fit_warnings(plan_of(folder, adapters, wide).recipe)] == ["W758"]
    square = wide.replace("width: 32", "width: 16")
    assert list(fit_warnings(plan_of(folder, adapters, square).recipe)) == []
    run = recipe_runner.run_recipe(folder / "recipe.yaml", ["sampling.width=32"], runs=folder / "runs")
    assert any("left.png has 16x16 pixels, and is stretched over images of 32x16" in each for each in run.warnings)


def test_a_plan_goes_on_without_what_was_not_fetched(folder: Path) -> None:
    hub = (
        "  look: {kind: ip_adapter, model: h94/IP-Adapter, subfolder: models, weight_name: ip-adapter_sd15.safetensors,"
    )
    plan = plan_of(folder, hub + " image: bear.png}\n")
    missing = [role for role, source in plan.sources().items() if not isinstance(source, Source)]
    assert missing == ["adapters.look", "adapters.look.image_encoder"]
    face = hub.replace("ip-adapter_sd15", "ip-adapter-faceid_sd15")
    plan = plan_of(folder, face + " image_embeds: face.npy}\n")
    assert [role for role, source in plan.sources().items() if not isinstance(source, Source)] == ["adapters.look"]


def test_a_prompt_gives_face_id_plus_both_of_what_it_reads(folder: Path) -> None:
    tail = TAIL.replace("a red star}", "a red star, images: {look: [face.npy, fox.jpg]}}").replace("[1, 2]", "[1]")
    pictures = []
    for shown in ("image: fox.jpg, image_embeds: face.npy", "image: bear.png, image_embeds: face.npy"):
        for after in (TAIL.replace("[1, 2]", "[1]"), tail):
            path = folder / "recipe.yaml"
            path.write_text(HEAD + entry("faceid_plus", shown) + after)
            run = recipe_runner.run_recipe(path, runs=folder / "runs")
            pictures.append(read_manifest(run.folder / "manifest.json").images[0].pixel_sha256)
    assert pictures[0] == pictures[1] == pictures[3] != pictures[2]
