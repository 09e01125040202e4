"""Measure the demo model: sample captions of held-out subjects and judge the pictures.

Run by hand: ``python -m training.evaluate model``. Prints a table, and JSON with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from .captions import Wish, write_caption
from .judge import Verdict, interior_fill, judge
from .shapes import HELD_OUT_SUBJECTS, RADII, SEEN_SUBJECTS, Subject, seeded

SEED: Final = 1000
STEPS: Final = 20
GUIDANCE: Final = 4.0
BATCH: Final = 16
FACTS: Final = ("shape", "colour", "background", "size")

Report = dict[str, str | float | dict[str, float]]


@dataclass(frozen=True, slots=True)
class Question:
    """A caption, and what its picture should show."""

    caption: str
    subject: Subject
    size: str

    def answers(self, verdict: Verdict) -> dict[str, bool]:
        """Return which facts the picture got right."""
        return {
            "shape": verdict.shape == self.subject.shape,
            "colour": verdict.colour == self.subject.colour,
            "background": verdict.background == self.subject.background,
            "size": verdict.size == self.size,
        }


def questions(subjects: tuple[Subject, ...], count: int) -> list[Question]:
    """Return captions in varied wording, each subject and size as often as the others, as far as the count goes."""
    random = seeded(SEED)
    shuffled = random.sample(subjects, len(subjects))
    asked = []
    for i in range(count):
        subject = shuffled[i % len(shuffled)]
        size = tuple(RADII)[(i + i // len(shuffled)) % 2]
        wish = Wish(subject.shape, subject.colour, subject.background, size, blurry=False)
        asked.append(Question(write_caption(random, wish), subject, size))
    return asked


@torch.no_grad()
def sample(
    pipeline: StableDiffusionPipeline,
    captions: list[str],
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    negative: str | None = None,
    image_embeds: Tensor | None = None,
) -> Tensor:
    """Return pictures (n, 3, 64, 64) between 0 and 1, each from a seed of its own.

    Args:
        pipeline: What draws them.
        captions: One for each picture.
        steps: How many denoising steps to take.
        guidance: The guidance scale.
        negative: The negative prompt of every picture.
        image_embeds: For an IP-Adapter, the picture that stands for none and then one for each caption (1 + n, …).
    """
    pictures = []
    # The pipeline takes the image prompts of one call for those of every picture in it.
    batch = BATCH if image_embeds is None else 1
    for first in range(0, len(captions), batch):
        part = captions[first : first + batch]
        embeds = None
        if image_embeds is not None:
            embeds = [torch.cat([image_embeds[:1], image_embeds[1 + first : 2 + first]])]
        result = pipeline(
            part,
            negative_prompt=None if negative is None else [negative] * len(part),
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(SEED + first + i) for i in range(len(part))],
            ip_adapter_image_embeds=embeds,
            output_type="pt",
        )
        pictures.append(result.images.float())
    return torch.cat(pictures)


def measure(pictures: Tensor, asked: list[Question]) -> Report:
    """Return the share of pictures that got each fact right, and the shape's share for each shape."""
    right: Counter[str] = Counter()
    by_shape: Counter[str] = Counter()
    for picture, question in zip(pictures, asked, strict=True):
        answers = question.answers(judge(picture))
        right.update(name for name, answer in answers.items() if answer)
        right["all"] += all(answers.values())
        by_shape[question.subject.shape] += answers["shape"]
    number = Counter(question.subject.shape for question in asked)
    return {
        **{name: right[name] / len(asked) for name in (*FACTS, "all")},
        "shape_by_name": {shape: by_shape[shape] / number[shape] for shape in number},
    }


def measure_fill(pictures: Tensor, asked: list[Question]) -> float:
    """Return how filled the shapes are, on average: what an outline style takes away."""
    fills = [interior_fill(picture, question.subject.shape) for picture, question in zip(pictures, asked, strict=True)]
    return sum(fills) / len(fills)


def rows(report: Report) -> list[str]:
    """Return the report as lines of a table, shares as percentages."""
    lines = []
    for name, value in report.items():
        for row, entry in value.items() if isinstance(value, dict) else [(name, value)]:
            share = isinstance(value, dict) or name in {*FACTS, "all", "fill"}
            lines.append(f"{row:<20} {entry:.1%}" if share else f"{row:<20} {entry}")
    return lines


def main() -> None:
    """Sample, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the pipeline folder")
    parser.add_argument("--count", type=int, default=448)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--seen", action="store_true", help="ask for subjects of the training set instead")
    parser.add_argument("--lora", type=Path, help="a LoRA file to load first")
    parser.add_argument("--scale", type=float, default=1.0, help="the scale of the LoRA")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    pipeline = StableDiffusionPipeline.from_pretrained(arguments.model, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    if arguments.lora is not None:
        pipeline.load_lora_weights(str(arguments.lora), adapter_name="style")
        pipeline.set_adapters(["style"], [arguments.scale])
    asked = questions(SEEN_SUBJECTS if arguments.seen else HELD_OUT_SUBJECTS, arguments.count)
    captions = [question.caption for question in asked]
    began = time.perf_counter()
    pictures = sample(pipeline, captions, steps=arguments.steps, guidance=arguments.guidance)
    seconds = (time.perf_counter() - began) / len(asked)
    report: Report = {
        "pictures": len(asked),
        "subjects": "seen" if arguments.seen else "held out",
        "steps": arguments.steps,
        "guidance": arguments.guidance,
        "seconds_per_picture": round(seconds, 3),
        "fill": measure_fill(pictures, asked),
        **measure(pictures, asked),
    }
    print(json.dumps(report, indent=2) if arguments.json else "\n".join(rows(report)))


if __name__ == "__main__":
    main()
