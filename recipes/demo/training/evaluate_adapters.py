"""Measure what each adapter does to the pictures of the demo model, by plain diffusers calls.

Run by hand: ``python -m training.evaluate_adapters .`` in the folder of the model and the adapters, with the names of
adapters to measure only those. Prints the rows of the model card; ``--sheets`` also writes the pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean as mean
from typing import Final

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from .captions import ANY_SHAPE, BLURRY, Wish, write_caption
from .evaluate import Question, measure, questions, sample
from .finetune import load
from .judge import background_fall, bands, colour_error, judge
from .shapes import HELD_OUT_SUBJECTS, UNNAMED_COLOURS, random_scene, seeded
from .train_colours import START
from .train_dreambooth import CLASS, ROUNDEL, WORD
from .train_ip_adapter import FILES, ImagePrompts
from .train_negative import TOKEN

SCALES: Final = (0.0, 0.5, 1.0)
COUNT: Final = 56
NEGATIVE_STEPS: Final = 50
IMAGE_GUIDANCE: Final = 2.5
BAND_RADII: Final = (0.84, 0.52, 0.0)
"""Where the roundel's colours are looked at, from the edge to the core."""

Row = tuple[str, dict[str, float], Tensor]
"""What was set, what was measured, and the pictures."""


def facts(pictures: Tensor, asked: list[Question]) -> dict[str, float]:
    """Return the share of pictures with the right shape, colour and background."""
    report = measure(pictures, asked)
    return {name: value for name in ("shape", "colour", "background") if isinstance(value := report[name], float)}


def gradient(folder: Path) -> list[Row]:
    """The second LoRA: how much darker the background is below than above, and whether its colour stays."""
    pipeline = load(folder / "model")
    pipeline.unet.load_lora_adapter(folder / "lora/gradient.safetensors", prefix="unet", adapter_name="gradient")
    asked, rows = questions(HELD_OUT_SUBJECTS, COUNT), []
    for scale in SCALES:
        pipeline.set_adapters(["gradient"], [scale])
        pictures = sample(pipeline, [question.caption for question in asked])
        falls = [background_fall(picture) for picture in pictures]
        grounds = facts(pictures, asked)["background"]
        rows.append((f"scale {scale:g}", {"fall": mean(falls), "background": grounds}, pictures))
    return rows


def spell_out(pipeline: StableDiffusionPipeline, token: str, vectors: Tensor) -> str:
    """Load vectors under lower-case tokens and return how a prompt spells them, one token for each."""
    names = [f"{token.lower()}_{i}" for i in range(len(vectors))]
    pipeline.load_textual_inversion([{name: vector} for name, vector in zip(names, vectors, strict=True)], token=names)
    return " ".join(names)


def colours(folder: Path) -> list[Row]:
    """The textual inversions: how often and how nearly shapes have the colour, beside what words do."""
    rows: list[Row] = []
    subjects = [subject for subject in HELD_OUT_SUBJECTS if subject.colour == "red"]
    for colour in UNNAMED_COLOURS:
        pipeline = load(folder / "model")
        token = f"<{colour}>"
        text = spell_out(pipeline, token, load_file(folder / f"embeddings/{colour}.safetensors")[token])
        random = seeded(colour)
        for word in (None, START[colour], text):
            captions, asked = [], []
            for i in range(COUNT):
                subject = subjects[i % len(subjects)]
                wish = Wish(subject.shape, word, subject.background, "large", blurry=False)
                captions.append(write_caption(random, wish))
                asked.append(Question(captions[-1], replace(subject, colour=colour), "large"))
            pictures = sample(pipeline, captions)
            off = mean([colour_error(picture, colour) for picture in pictures])
            rows.append(
                (f"{colour}: {token if word == text else word}", {**facts(pictures, asked), "off": off}, pictures)
            )
    return rows


def negative(folder: Path) -> list[Row]:
    """The negative embedding: how soft the edges are, and how often the shape can be told."""
    pipeline = load(folder / "model")
    text = spell_out(pipeline, TOKEN, load_file(folder / "embeddings/bad-shape.safetensors")["emb_params"])
    asked, rows = questions(HELD_OUT_SUBJECTS, COUNT), []
    for captions in ([question.caption for question in asked], [f"a {ANY_SHAPE}"] * COUNT):
        for prompt in (None, BLURRY, text):
            pictures = sample(pipeline, captions, steps=NEGATIVE_STEPS, negative=prompt)
            seen = [judge(picture) for picture in pictures]
            report = {
                "edge": mean([verdict.edge for verdict in seen]),
                "told": mean([verdict.shape is not None for verdict in seen]),
                **(facts(pictures, asked) if len(set(captions)) > 1 else {}),
            }
            rows.append((f"{captions[-1]}, negative prompt {TOKEN if prompt == text else prompt}", report, pictures))
    return rows


def dreambooth(folder: Path) -> list[Row]:
    """The fine-tuned base: how often the subject is there when its word is, and when it is not."""
    rows: list[Row] = []
    grounds = ("green", "purple", "pink", "orange", "yellow", "black")
    for base in ("model", "dreambooth"):
        pipeline = load(folder / base)
        for words in (f"{WORD} {CLASS}", CLASS, f"red {CLASS}"):
            captions = [
                f"a {size} {words} on a {ground} background" for ground in grounds for size in ("small", "large")
            ]
            pictures = sample(pipeline, captions * 2)
            found = [bands(picture, BAND_RADII) == ROUNDEL for picture in pictures]
            rows.append((f"{base}: {words}", {"subject": mean(found)}, pictures))
        asked = questions(HELD_OUT_SUBJECTS, COUNT)
        pictures = sample(pipeline, [question.caption for question in asked])
        rows.append((f"{base}: held out", facts(pictures, asked), pictures))
    return rows


def image_prompts(folder: Path, variety: str) -> list[Row]:
    """An IP-Adapter: how often a picture shows what the image prompt shows, and what the caption says."""
    pipeline = load(folder / "model")
    pipeline.load_ip_adapter(
        str(folder),
        subfolder="ip_adapter",
        weight_name=FILES[variety],
        image_encoder_folder=None if variety == "faceid" else "image_encoder",
    )
    random, asked = seeded("image prompts"), questions(HELD_OUT_SUBJECTS, COUNT)
    scenes = [random_scene(random, question.subject, question.size) for question in asked]
    prompts = ImagePrompts(folder / "ip_adapter/image_encoder", variety)
    embeds = prompts.encode([scenes[0], *scenes], torch.tensor([True] + [False] * COUNT))
    rows = []
    for caption, scale in (*(("", scale) for scale in SCALES), (f"a green {ANY_SHAPE}", 1.0), ("a star", 1.0)):
        pipeline.set_ip_adapter_scale(scale)
        pictures = sample(pipeline, [caption] * COUNT, guidance=IMAGE_GUIDANCE, image_embeds=embeds)
        seen = [judge(picture) for picture in pictures]
        said = mean([(verdict.shape if "star" in caption else verdict.colour) in caption.split() for verdict in seen])
        rows.append((f"caption '{caption}', scale {scale:g}", {**facts(pictures, asked), "said": said}, pictures))
    return rows


MEASURES: Final[dict[str, Callable[[Path], list[Row]]]] = {
    "gradient": gradient,
    "colours": colours,
    "negative": negative,
    "dreambooth": dreambooth,
    "ip-adapter": lambda folder: image_prompts(folder, "base"),
    "ip-adapter-plus": lambda folder: image_prompts(folder, "plus"),
    "ip-adapter-faceid": lambda folder: image_prompts(folder, "faceid"),
}


def save_sheet(pictures: Tensor, file: Path) -> None:
    """Write the first 32 pictures in two rows."""
    lines = [torch.cat(list(part), dim=2) for part in pictures[:32].split(16) if len(part) == min(16, len(pictures))]
    pixels = (torch.cat(lines, dim=1).clamp(0.0, 1.0) * 255.0).round().byte()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file)


def main() -> None:
    """Sample, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of the model and the adapters")
    parser.add_argument("names", nargs="*", help="of adapters, instead of all")
    parser.add_argument("--sheets", type=Path, help="a folder for the pictures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names or MEASURES:
        for number, (what, report, pictures) in enumerate(MEASURES[name](arguments.folder)):
            print(name, "|", what, "|", " ".join(f"{key} {value:.3f}" for key, value in report.items()), flush=True)
            if arguments.sheets is not None:
                save_sheet(pictures, arguments.sheets / f"{name}-{number}.png")


if __name__ == "__main__":
    main()
