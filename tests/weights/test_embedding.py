"""What an embedding file is, and which encoders it fits, from names and shapes alone."""

from __future__ import annotations

import pytest

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.embedding import BARE, Embedding, identify_embedding, place_embedding
from recipe_runner.weights.modules import ModuleTable, Shape

SD1: ModuleTable = {"unet": {"conv_in": (4, 4)}, "text_encoder": {"embeddings.token_embedding": (49408, 768)}}
SDXL: ModuleTable = {**SD1, "text_encoder_2": {"text_model.embeddings.token_embedding": (49408, 1280)}}
FLUX: ModuleTable = {
    "text_encoder": {"embeddings.token_embedding": (49408, 768)},
    "text_encoder_2": {"shared": (32128, 4096)},
}
BOTH = {"clip_l": (2, 768), "clip_g": (2, 1280)}


def embedding(shapes: dict[str, Shape], name: str | None = None) -> Embedding:
    found = identify_embedding(shapes, name=name)
    assert isinstance(found, Embedding), found
    return found


@pytest.mark.parametrize(
    ("shapes", "name", "layout", "token", "counts"),
    [
        ({"<gta5-artwork>": (768,)}, None, "diffusers", "<gta5-artwork>", [1]),
        ({"<flora>": (768,)}, None, "diffusers", "<flora>", [1]),
        ({"<detail>": (1, 768)}, None, "diffusers", "<detail>", [1]),
        ({"emb_params": (8, 768)}, None, "A1111", None, [8]),
        ({"string_to_param.*": (37, 768)}, "UnrealisticDream", "A1111", "UnrealisticDream", [37]),
        ({"string_to_param.*": (37, 768)}, "two words", "A1111", None, [37]),
        ({BARE: (3, 768)}, None, "bare tensor", None, [3]),
        (BOTH, None, "SDXL (one tensor for each encoder)", None, [2, 2]),
        (
            {"text_encoders_0": (768,), "text_encoders_1": (1280,)},
            None,
            "SDXL (one tensor for each encoder)",
            None,
            [1, 1],
        ),
    ],
)
def test_layouts(shapes: dict[str, Shape], name: str | None, layout: str, token: str | None, counts: list[int]) -> None:
    found = embedding(shapes, name)
    assert (found.layout, found.token, [vectors.count for vectors in found.vectors]) == (layout, token, counts)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({}, "it holds no tensors"),
        (
            {"lora_unet_x.lora_down.weight": (4, 768), "lora_unet_x.lora_up.weight": (768, 4)},
            "it is a LoRA (2 of 2 tensors, such as lora_unet_x.lora_down.weight)",
        ),
        ({"<s1>": (768,), "unet:0:up": (4, 4)}, "it is a LoRA (1 of 2 tensors, such as unet:0:up)"),
        (
            {"image_proj.proj": (4, 4)},
            "it is an IP-Adapter (1 of 1 tensors, such as image_proj.proj)",
        ),
        ({"linear1.weight": (4, 4)}, "it is a network's weights (1 of 1 tensors, such as linear1.weight)"),
        ({"<a>": (1, 1, 768)}, "<a> has the shape 1x1x768, expected [number, width] or [width]"),
        ({"<a>": ()}, "<a> has the shape scalar, expected [number, width] or [width]"),
        ({BARE: (0, 768)}, "its tensor has the shape 0x768, expected [number, width] or [width]"),
        ({"<a>": (768,), "<b>": (768,)}, "it holds 2 tensors (<a>, <b>), and a textual inversion is one token"),
        ({"clip_l": (768,), "text_encoders_0": (768,)}, "clip_l and text_encoders_0 are for the same encoder"),
    ],
)
def test_what_is_no_embedding_is_told_apart(shapes: dict[str, Shape], said: str) -> None:
    assert identify_embedding(shapes) == said


def test_one_of_several_tokens_is_the_one_that_the_recipe_names() -> None:
    several: dict[str, Shape] = {"<cat>": (768,), "<dog>": (2, 768)}
    found = identify_embedding(several, token="<DOG>")  # noqa: S106
    assert isinstance(found, Embedding)
    assert (found.token, [vectors.count for vectors in found.vectors]) == ("<dog>", [2])
    assert isinstance(identify_embedding(several, token="<cow>"), str)  # noqa: S106
    assert isinstance(identify_embedding({**several, "two words": (768,)}, token="<dog>"), str)  # noqa: S106


def test_a_list_of_one_tensor_is_that_tensor() -> None:
    assert embedding({"0": (2, 768)}).layout == "bare tensor"


def test_an_output_embedding_is_named() -> None:
    found = identify_embedding({"emb_params": (2, 768), "emb_params_out": (2, 768)})
    assert isinstance(found, str)
    assert found.startswith("emb_params_out is OneTrainer's output embedding, which replaces an encoder's output")


def test_whole_numbers_are_no_vectors() -> None:
    assert identify_embedding({"<a>": (1, 768)}, dtypes={"<a>": "I64"}) == "<a> holds I64, not floating point numbers"


@pytest.mark.parametrize(
    ("shapes", "modules", "target", "landed"),
    [
        ({"<a>": (768,)}, SD1, None, {"text_encoder": "<a>"}),
        ({"<a>": (768,)}, FLUX, None, {"text_encoder": "<a>"}),
        (BOTH, SDXL, None, {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}),
        (BOTH, SDXL, "text_encoder_2", {"text_encoder_2": "clip_g"}),
        (BOTH, SD1, "text_encoder", {"text_encoder": "clip_l"}),
        ({"clip_l": (768,), "t5": (4096,)}, FLUX, "text_encoder", {"text_encoder": "clip_l"}),
        ({"<a>": (1280,)}, SDXL, "text_encoder_2", {"text_encoder_2": "<a>"}),
    ],
)
def test_each_tensor_lands_in_its_encoder(
    shapes: dict[str, Shape], modules: ModuleTable, target: str | None, landed: dict[str, str]
) -> None:
    placed = place_embedding(embedding(shapes), modules, target=target, label="adapter a")
    assert {part: vectors.key for part, vectors in placed.items()} == landed


@pytest.mark.parametrize(
    ("shapes", "modules", "target", "code", "said"),
    [
        (
            {"<a>": (1024,)},
            SD1,
            None,
            "E622",
            "<a> has vectors of width 1024 (SD 2.x (OpenCLIP ViT-H)), and text_encoder has 768",
        ),
        (
            BOTH,
            SD1,
            None,
            "E622",
            "clip_g has vectors of width 1280 (SDXL's second encoder (OpenCLIP ViT-G)) for text_encoder_2, and the",
        ),
        ({"clip_l": (768,), "t5": (4096,)}, FLUX, None, "E622", "t5 has vectors of width 4096 for the T5 encoder"),
        ({"<a>": (768,)}, SDXL, None, "E623", "the file holds nothing for text_encoder_2, which reads prompts too"),
        ({"<a>": (768,)}, SDXL, "text_encoder_2", "E622", "and text_encoder_2 has 1280"),
        ({"clip_l": (768,)}, SDXL, "text_encoder_2", "E622", "the file holds nothing for text_encoder_2"),
        ({"<a>": (768,)}, FLUX, "text_encoder_2", "E622", "the base has no CLIP text encoder called text_encoder_2"),
        ({"<a>": (768,)}, {"text_encoder": {"shared": (9, 768)}}, None, "E622", "the base has no CLIP text encoder"),
    ],
)
def test_a_misfit_is_refused_with_its_reason(
    shapes: dict[str, Shape], modules: ModuleTable, target: str | None, code: str, said: str
) -> None:
    with pytest.raises(WeightsError) as caught:
        place_embedding(embedding(shapes), modules, target=target, label="adapter a")
    (problem,) = caught.value.problems
    assert (problem.code, said in problem.message) == (code, True), problem.message
