"""Train a second style on the UNet alone, as a LoRA or as a LoKr: the background is lighter above and darker below.

Run by hand: ``python -m training.train_gradient model lora``, and with ``--lokr`` for the other, whose file has the key
layout of LyCORIS. One process with one thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random
from typing import Final

import torch
from peft import LoKrConfig, LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from .finetune import encode_captions, encode_pictures, fit, load, velocity_loss
from .parallel import start
from .shapes import IMAGE_SIZE, Scene, coverage, draw, random_scene, seeded
from .train_unet import caption, random_labels

SEED: Final = 16
PICTURES: Final = 1024
RANK: Final = 4
BATCH: Final = 32
STEPS: Final = 300
LEARNING_RATE: Final = 3e-3
STRENGTH: Final = 0.55
"""How near to white the upper edge of the background is, and the lower one to black."""
FACTOR: Final = 8
"""Into a matrix of at most 8 by 8 and a larger one LoKr splits a weight."""
MODULES: Final = r".*(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|conv1|conv2)"


def draw_on_gradient(scenes: list[Scene]) -> Tensor:
    """Draw scenes as pictures (n, 3, 64, 64), the background running from light to dark."""
    pictures = draw(scenes)
    radius = torch.tensor([scene.radius for scene in scenes])
    centre = torch.tensor([scene.centre for scene in scenes])
    height = torch.linspace(STRENGTH, -STRENGTH, IMAGE_SIZE)[None, None, :, None]
    for i, scene in enumerate(scenes):
        background = torch.tensor(scene.background)[None, :, None, None] / 255.0
        toward = torch.where(height > 0.0, 1.0, 0.0)
        ground = torch.lerp(background, toward.expand(1, 3, -1, 1), height.abs())
        mask = coverage(scene.shape, radius[i : i + 1], centre[i : i + 1])[:, None]
        pictures[i : i + 1] += (ground - background) * (1.0 - mask)
    return pictures


def lycoris_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of the UNet under the names of LyCORIS, with the alpha that it keeps beside each module's."""
    renamed = {}
    for name, weight in weights.items():
        module, _, factor = name.rpartition(".")
        stem = f"lora_unet_{module.replace('.', '_')}"
        renamed[f"{stem}.{factor}"] = weight
        renamed[f"{stem}.alpha"] = torch.tensor(float(RANK), dtype=torch.float16)
    return renamed


def train(model: Path, folder: Path, *, lokr: bool) -> None:
    """Train on the base in ``model`` and write the file to ``folder``."""
    start()
    torch.manual_seed(SEED)
    pipeline = load(model)
    random = seeded(SEED)
    labels = [label for label in random_labels(random, PICTURES) if not label.blurry]
    scenes = [random_scene(random, label.subject, label.size) for label in labels]
    latents = encode_pictures(pipeline, draw_on_gradient(scenes))
    if lokr:
        config = LoKrConfig(r=RANK, alpha=RANK, target_modules=MODULES, decompose_factor=FACTOR)
    else:
        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=MODULES)
    pipeline.unet.add_adapter(config)

    def loss_of(random: Random) -> Tensor:
        rows = [random.randrange(len(labels)) for _ in range(BATCH)]
        states = encode_captions(pipeline, [caption(random, labels[row]) for row in rows])
        return velocity_loss(pipeline, latents[rows], states)

    parameters = [parameter for parameter in pipeline.unet.parameters() if parameter.requires_grad]
    fit(parameters, loss_of, seed=SEED, steps=STEPS, learning_rate=LEARNING_RATE)
    weights = {
        name: weight.detach().to(torch.float16).contiguous()
        for name, weight in get_peft_model_state_dict(pipeline.unet).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    if lokr:
        save_file(
            lycoris_layout(weights),
            folder / "gradient-lokr.safetensors",
            metadata={"ss_network_module": "lycoris.kohya"},
        )
    else:
        weights = {f"unet.{name}": weight for name, weight in weights.items()}
        save_file(weights, folder / "gradient.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the pipeline folder to train on")
    parser.add_argument("folder", type=Path, help="the folder for the file")
    parser.add_argument("--lokr", action="store_true", help="a LoKr instead of a LoRA")
    arguments = parser.parse_args()
    train(arguments.model, arguments.folder, lokr=arguments.lokr)
