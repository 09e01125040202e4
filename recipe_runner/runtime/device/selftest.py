"""Make one image twice, each time from the files, and compare the bits."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from recipe_runner.plan.resolved import ModelHandle
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.runtime.decode import Pixels
from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.sources.base_folder import INDEX
from recipe_runner.sources.source import Source, SourceFile

PROMPT = "a red circle on a blue background"
STEPS = 4


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Whether the two images have the same bits, the model that made them, and the seconds for both."""

    identical: bool
    model: str
    seconds: float


def selftest(device: str = "auto", model: Path | None = None) -> SelfTest:
    """Make one image at level strict in two pipelines, one after the other, and compare them.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        model: a Stable Diffusion folder; None makes a tiny model with random weights in a temporary folder.

    Raises:
        OperationFailed: E7xx, when the device is missing or fails.
        WeightsError: E5xx, when the folder is incomplete.
    """
    if model is not None:
        return _compared(device, model, f"the model in {model.name}")
    folder = Path(tempfile.mkdtemp(prefix="recipe-runner-selftest-"))
    try:
        _write_random_model(folder)
        return _compared(device, folder, "a tiny model with random weights")
    finally:
        shutil.rmtree(folder)


def _compared(device: str, folder: Path, name: str) -> SelfTest:
    files = tuple(SourceFile.of(path, folder) for path in sorted(folder.rglob("*")) if path.is_file())
    pipeline = json.loads((folder / INDEX).read_bytes())["_class_name"]
    handle = ModelHandle(base=ResolvedBase(source=Source(address=name, root=folder, files=files), pipeline=pipeline))
    started = time.monotonic()
    first, second = _image(device, handle), _image(device, handle)
    return SelfTest(np.array_equal(first, second), name, time.monotonic() - started)


def _image(device: str, handle: ModelHandle) -> Pixels:
    live = LivePipeline(device, "strict")
    conditioning = live.encode(handle, {"prompt": PROMPT})
    latents = live.denoise(handle, [conditioning], [0], {"num_inference_steps": STEPS})
    image = live.decode(handle, latents).images[0]
    live.close()
    return image


def _write_random_model(folder: Path) -> None:
    characters = list(map(chr, range(ord("!"), ord("~") + 1)))
    ends = [f"{character}</w>" for character in characters]
    pieces = [*characters, *ends, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = dict(zip(pieces, range(len(pieces)), strict=True))
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        text = CLIPTextConfig(
            vocab_size=len(pieces),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            bos_token_id=len(pieces) - 2,
            eos_token_id=len(pieces) - 1,
        )
        StableDiffusionPipeline(
            vae=AutoencoderKL(
                block_out_channels=(16, 32),
                norm_num_groups=8,
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
            ),
            text_encoder=CLIPTextModel(text),
            tokenizer=tokenizer,
            unet=UNet2DConditionModel(
                sample_size=16,
                block_out_channels=(16, 32),
                layers_per_block=1,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                attention_head_dim=4,
                norm_num_groups=8,
                cross_attention_dim=32,
            ),
            scheduler=DDIMScheduler(clip_sample=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
