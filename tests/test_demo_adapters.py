"""Each adapter of the demo does what it is for, more so at a higher scale: measured on the pictures of recipes."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from support.demo import DEMO, pictures
from training.judge import background_fall, bands, colour_error, interior_fill, judge, nearest_colour

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs, so that what one test made is there for the next."""
    return tmp_path_factory.mktemp("runs")


def test_learned_words_name_colours_that_the_base_has_no_word_for(runs: Path) -> None:
    seen = pictures("textual-inversion", runs, "seeds=[1]")
    for shape, colour, background in (("square", "teal", "white"), ("heart", "brown", "yellow")):
        for picture in seen[shape]:
            verdict = judge(picture)
            assert (verdict.shape, verdict.colour, verdict.background) == (shape, colour, background)
            assert colour_error(picture, colour) < 40


def test_both_layouts_of_an_embedding_make_the_same_pictures(runs: Path) -> None:
    a1111 = [f"adapters.teal.model={DEMO}/embeddings/teal-a1111.safetensors", "adapters.teal.token=<teal>"]
    one, other = (pictures("textual-inversion", runs, "seeds=[1]", *layout)["square"] for layout in ([], a1111))
    assert torch.equal(one[0], other[0])


def test_the_word_of_the_dreambooth_base_calls_its_subject_and_only_there(runs: Path) -> None:
    seen = pictures("dreambooth", runs)
    roundel = [bands(picture, (0.84, 0.52, 0.0)) for picture in seen["subject"]]
    assert roundel[0] != ("red", "white", "blue")
    assert roundel[1] == ("red", "white", "blue")
    for picture in seen["circle"]:
        assert bands(picture, (0.84, 0.52, 0.0)) == ("red", "red", "red")
        assert judge(picture).background == "green"


def test_two_loras_each_do_their_part_and_grow_with_their_scales(runs: Path) -> None:
    grid = pictures("two-loras", runs)["star"]
    for outline in range(3):
        falls = [background_fall(picture) for picture in grid[3 * outline : 3 * outline + 3]]
        assert abs(falls[0]) < 0.05
        assert falls[0] < falls[1] < falls[2]
        assert falls[2] > 0.25
    fills = [interior_fill(picture, "star") for picture in grid[::3]]
    assert fills[0] > fills[1] > fills[2]


def test_a_merged_lora_keeps_both_effects(runs: Path) -> None:
    for picture in pictures("merge", runs, "seeds=[1]")["star"]:
        assert background_fall(picture) > 0.15
        assert interior_fill(picture, "star") < 0.9


def test_both_layouts_of_a_lora_make_the_same_pictures(runs: Path) -> None:
    for kohya, diffusers in pictures("kohya", runs).values():
        assert torch.equal(kohya, diffusers)


def test_adapters_that_left_leave_the_base_to_the_last_bit(runs: Path) -> None:
    without = pictures("unload", runs, "matrix.adapters=[{}]")
    for prompt, (outlined, shaded, bare) in pictures("unload", runs).items():
        assert torch.equal(bare, without[prompt][0])
        assert not torch.equal(bare, outlined)
        assert background_fall(shaded) > 0.25 > background_fall(bare)


def test_the_lokr_grows_with_its_scale(runs: Path) -> None:
    for seen in pictures("lycoris", runs).values():
        falls = [background_fall(picture) for picture in seen]
        assert abs(falls[0]) < 0.05
        assert falls[0] < falls[1] < falls[2]
        assert falls[2] > 0.25


def test_the_unets_part_of_the_outline_draws_outlines_alone(runs: Path) -> None:
    for shape, seen in pictures("lora-unet-only", runs).items():
        fills = [interior_fill(picture, shape) for picture in seen]
        assert fills[0] > fills[1] > fills[2]


def test_the_negative_embedding_sharpens(runs: Path) -> None:
    seen = {
        prompt: [judge(picture) for picture in found]
        for prompt, found in pictures("negative-embedding", runs, "seeds=[1, 2]").items()
    }
    edges = {prompt: mean(verdict.edge for verdict in verdicts) for prompt, verdicts in seen.items()}
    assert edges["negative"] < 0.95 * edges["plain"]


def seen_of(name: str) -> torch.Tensor:
    """An image prompt: [3, H, W] in 0..1."""
    with Image.open(DEMO / "inputs" / name) as opened:
        return torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1) / 255.0


@pytest.mark.parametrize(
    ("recipe", "prompts"),
    [
        ("ip-adapter", {"alone": "yellow-star", "heart": "red-heart"}),
        ("ip-adapter-plus", {"ring": "purple-ring", "cross": "green-cross"}),
    ],
)
def test_pictures_follow_their_image_prompt_more_at_a_higher_scale(
    recipe: str, prompts: dict[str, str], runs: Path
) -> None:
    found = pictures(recipe, runs, "seeds=[1]")
    distances = [0.0, 0.0, 0.0]
    for prompt, shown in prompts.items():
        colour, shape = shown.split("-")
        image = seen_of(f"{shown}.png")
        distances = [
            distance + float((picture - image).abs().mean())
            for distance, picture in zip(distances, found[prompt], strict=True)
        ]
        verdict = judge(found[prompt][2])
        assert (verdict.shape, verdict.colour, verdict.background) == (shape, colour, judge(image).background)
    none, some, full = distances
    assert none > some > full


def test_words_overrule_the_image_prompt(runs: Path) -> None:
    found = pictures("ip-adapter", runs, "seeds=[1]", "matrix={}")
    verdict = judge(found["green"][0])
    assert (verdict.shape, verdict.background) == ("star", "green")


def test_each_mask_keeps_its_image_prompt_in_its_half(runs: Path) -> None:
    for picture in pictures("ip-adapter-masks", runs, "seeds=[1, 2]")["halves"]:
        edges = picture[:, :, :4], picture[:, :, -4:]
        assert [nearest_colour(edge.flatten(1).median(dim=1).values) for edge in edges] == ["blue", "orange"]


def test_a_silhouette_gives_the_shape_and_words_the_colours(runs: Path) -> None:
    for (shape, colour, background), seen in zip(
        (("star", "red", "white"), ("heart", "yellow", "blue")), pictures("face-id", runs).values(), strict=True
    ):
        verdict = judge(seen[2])
        assert (verdict.shape, verdict.colour, verdict.background) == (shape, colour, background)


def test_all_kinds_work_together_on_both_bases(runs: Path) -> None:
    for picture in pictures("together", runs, "seeds=[1]")["star"]:
        assert colour_error(picture, "teal") < 60
        assert background_fall(picture) > 0.1
