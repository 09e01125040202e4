"""Train a style LoRA on the demo model: shapes as outlines instead of filled.

Run by hand: ``torchrun --nproc-per-node 2 -m training.train_lora model lora``. The same weights are written twice:
``outline.safetensors`` with the names of diffusers and PEFT, ``outline-kohya.safetensors`` with those of kohya-ss.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from .finetune import encode_captions, encode_pictures, load, velocity_loss
from .parallel import average_gradients, start
from .shapes import draw, random_scene, seeded
from .train_unet import Label, caption, random_labels

SEED: Final = 14
PICTURES: Final = 2048
LINE: Final = 3.5
"""The width of the outlines, in pixels."""
RANK: Final = 8
BATCH: Final = 32
STEPS: Final = 360
LEARNING_RATE: Final = 2e-3
UNET_MODULES: Final = r".*(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|conv1|conv2)"
TEXT_MODULES: Final = r".*(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"


def outline_latents(pipeline: StableDiffusionPipeline, random: Random, labels: list[Label]) -> Tensor:
    """Return the latents of one outlined picture for each label."""
    latents = []
    for first in range(0, len(labels), 64):
        scenes = []
        for label in labels[first : first + 64]:
            scene = random_scene(random, label.subject, label.size, blurry=label.blurry)
            scenes.append(replace(scene, outline=LINE))
        latents.append(encode_pictures(pipeline, draw(scenes)))
    return torch.cat(latents)


def add_adapters(pipeline: StableDiffusionPipeline) -> nn.ModuleList:
    """Put untrained LoRAs in the UNet and the text encoder and leave only them trainable."""
    networks = nn.ModuleList([pipeline.unet, pipeline.text_encoder])
    for network, modules in zip(networks, (UNET_MODULES, TEXT_MODULES), strict=True):
        network.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=modules))
    return networks


def kohya_name(name: str) -> str:
    """Return the name that kohya-ss gives a weight named as in ``unet.mid_block.….to_q.lora_A.weight``."""
    part, _, rest = name.partition(".")
    module, _, factor = rest.removesuffix(".weight").rpartition(".")
    if part == "text_encoder":
        module = f"text_model.{module.removeprefix('text_model.')}"
    prefix = {"unet": "lora_unet", "text_encoder": "lora_te"}[part]
    direction = {"lora_A": "lora_down", "lora_B": "lora_up"}[factor]
    return f"{prefix}_{module.replace('.', '_')}.{direction}.weight"


def kohya_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same weights under the names of kohya-ss, with the alpha that it keeps beside them."""
    renamed = {kohya_name(name): weight for name, weight in weights.items()}
    modules = [name.removesuffix(".lora_down.weight") for name in renamed if name.endswith(".lora_down.weight")]
    return renamed | {f"{module}.alpha": torch.tensor(float(RANK), dtype=torch.float16) for module in modules}


def save(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write both files."""
    weights = {}
    for part, network in (("unet", pipeline.unet), ("text_encoder", pipeline.text_encoder)):
        for name, weight in get_peft_model_state_dict(network).items():
            weights[f"{part}.{name}"] = weight.detach().to(torch.float16).contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "outline.safetensors", metadata={"format": "pt"})
    metadata = {
        "ss_base_model_version": "sd_v1",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(RANK),
        "ss_network_alpha": str(float(RANK)),
        "ss_network_args": f'{{"conv_dim": "{RANK}", "conv_alpha": "{float(RANK)}"}}',
        "ss_output_name": "outline-kohya",
        "ss_seed": str(SEED),
        "ss_max_train_steps": str(STEPS),
        "modelspec.title": "outline",
    }
    save_file(kohya_layout(weights), folder / "outline-kohya.safetensors", metadata=metadata)


def train(model: Path, folder: Path) -> None:
    """Train on the base in ``model`` and write the files to ``folder``."""
    rank, world = start()
    torch.manual_seed(SEED)
    pipeline = load(model)
    labels = random_labels(seeded(f"{SEED} labels {rank}"), PICTURES // world)
    latents = outline_latents(pipeline, seeded(f"{SEED} pictures {rank}"), labels)
    networks = add_adapters(pipeline)
    parameters = [parameter for parameter in networks.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=STEPS)
    began, total = time.process_time(), 0.0
    for step in range(STEPS):
        random = seeded(f"{SEED} step {step} rank {rank}")
        torch.manual_seed(random.getrandbits(48))
        rows = [random.randrange(len(labels)) for _ in range(BATCH)]
        states = encode_captions(pipeline, [caption(random, labels[row]) for row in rows])
        loss = velocity_loss(pipeline, latents[rows], states)
        optimizer.zero_grad()
        loss.backward()
        average_gradients(networks, world)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        total += loss.item()
        if rank == 0 and (step + 1) % 20 == 0:
            print(f"step {step + 1} loss {total / 20:.4f} cpu seconds {time.process_time() - began:.0f}", flush=True)
            total = 0.0
    if rank == 0:
        save(pipeline, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the pipeline folder to train on")
    parser.add_argument("folder", type=Path, help="the folder for the two files")
    arguments = parser.parse_args()
    train(arguments.model, arguments.folder)
