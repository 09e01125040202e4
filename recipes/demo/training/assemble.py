"""Put the trained parts together as a pipeline folder of half-precision weights.

Run by hand: ``python -m training.assemble --work WORK model``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from .captions import vocabulary_words
from .tokenizer import build_tokenizer
from .train_unet import build_scheduler


def assemble(work: Path) -> StableDiffusionPipeline:
    """Return the pipeline of the trained parts, in half precision."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(work / "vae", dtype=torch.float16),
        text_encoder=CLIPTextModel.from_pretrained(work / "text_encoder", dtype=torch.float16),
        tokenizer=build_tokenizer(vocabulary_words()),
        unet=UNet2DConditionModel.from_pretrained(work / "unet", dtype=torch.float16),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def forget_paths(model: Path) -> None:
    """Take out of the configuration files where the parts were loaded from."""
    for file in model.glob("*/config.json"):
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings.pop("_name_or_path", None)
        file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Save the pipeline folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder of the trained parts")
    parser.add_argument("model", type=Path, help="the pipeline folder to write")
    arguments = parser.parse_args()
    assemble(arguments.work).save_pretrained(arguments.model)
    forget_paths(arguments.model)


if __name__ == "__main__":
    main()
