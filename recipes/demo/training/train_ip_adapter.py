"""Train an IP-Adapter: the picture given as a prompt decides what the caption leaves open.

Run by hand: ``python -m training.train_ip_adapter model ip_adapter``, with ``--variety plus`` for the one that reads
the image encoder's last but one hidden states through a resampler, and with ``--variety faceid`` for the one that reads
what stands for a face here: a silhouette in 512 numbers. One process with one thread. The files have the key layouts
of the repositories ``h94/IP-Adapter`` and ``h94/IP-Adapter-FaceID``, the latter with a LoRA inside.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from random import Random
from typing import Final

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import IPAdapterFaceIDImageProjection, IPAdapterPlusImageProjection
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from .captions import Wish, write_caption
from .finetune import encode_captions, encode_pictures, fit, load, velocity_loss
from .parallel import start
from .shapes import (
    NAMED_COLOURS,
    RADII,
    SEEN_SUBJECTS,
    SHAPES,
    SILHOUETTE,
    Scene,
    Subject,
    draw,
    random_scene,
    seeded,
    silhouettes,
)
from .train_image_encoder import PROJECTED, WIDTH, pixel_values

SEED: Final = 19
PICTURES: Final = 8192
TOKENS: Final = 4
QUERIES: Final = 8
LORA_RANK: Final = 4
LORA_MODULES: Final = ("to_q", "to_k", "to_v", "to_out.0")
FILES: Final = {
    "base": "ip-adapter_shapes.safetensors",
    "plus": "ip-adapter-plus_shapes.safetensors",
    "faceid": "ip-adapter-faceid_shapes.safetensors",
}
RESAMPLER_WIDTH: Final = 64
BATCH: Final = 32
STEPS: Final = {"base": 1500, "plus": 1500, "faceid": 400}
LEARNING_RATE: Final = 2e-3
SILENT_SHARE: Final = 0.4
"""How often the caption is empty."""
NO_IMAGE_SHARE: Final = 0.08
"""How often the picture is the one that stands for none."""
SAID_SHARE: Final = 0.4
"""How often a caption that is not empty says a fact."""
OTHER_SHARE: Final = 0.5
"""How often the picture shows another fact than the caption says: the caption is right."""


def untrained(unet: UNet2DConditionModel, variety: str) -> dict[str, dict[str, Tensor]]:
    """Return the weights to begin with, as ``h94/IP-Adapter`` names them; keys and values begin as the text's."""
    width = unet.config.cross_attention_dim
    projection: dict[str, Tensor] = {}
    if variety == "plus":
        resampler = IPAdapterPlusImageProjection(
            embed_dims=WIDTH, output_dims=width, hidden_dims=RESAMPLER_WIDTH, heads=1, num_queries=QUERIES
        )
        projection = resampler_layout(resampler.state_dict())
    elif variety == "faceid":
        layers = IPAdapterFaceIDImageProjection(math.prod(SILHOUETTE), width, mult=1, num_tokens=TOKENS)
        projection = faceid_layout(layers.state_dict())
    else:
        linear, norm = nn.Linear(PROJECTED, TOKENS * width), nn.LayerNorm(width)
        projection = {"proj.weight": linear.weight, "proj.bias": linear.bias}
        projection |= {"norm.weight": norm.weight, "norm.bias": norm.bias}
    attention: dict[str, Tensor] = {}
    for number, name in enumerate(unet.attn_processors):
        if ".attn2." in name:
            module = unet.get_submodule(name.removesuffix(".processor"))
            attention[f"{number}.to_k_ip.weight"] = module.to_k.weight
            attention[f"{number}.to_v_ip.weight"] = module.to_v.weight
    return {
        part: {name: weight.detach().clone() for name, weight in weights.items()}
        for part, weights in (("image_proj", projection), ("ip_adapter", attention))
    }


def resampler_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a resampler's weights under the names of ``h94/IP-Adapter``, keys and values in one matrix."""
    names = {
        "ln0.": "0.norm1.",
        "ln1.": "0.norm2.",
        "attn.to_q.": "0.to_q.",
        "attn.to_out.0.": "0.to_out.",
        "ff.0.": "1.0.",
        "ff.1.net.0.proj.": "1.1.",
        "ff.1.net.2.": "1.3.",
    }
    renamed = {}
    for name, weight in weights.items():
        stem, _, rest = name.partition(".attn.to_k.")
        if rest:
            renamed[f"{stem}.0.to_kv.{rest}"] = torch.cat([weight, weights[f"{stem}.attn.to_v.{rest}"]])
        elif ".attn.to_v." not in name:
            new = name
            for ours, theirs in names.items():
                new = new.replace(f".{ours}", f".{theirs}") if name.startswith("layers.") else new
            renamed[new] = weight
    return renamed


def faceid_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a FaceID projection's weights under the names of ``h94/IP-Adapter-FaceID``."""
    return {name.replace("ff.net.0.proj", "proj.0").replace("ff.net.2", "proj.2"): weights[name] for name in weights}


def lora_layout(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Return the UNet's LoRA under the names that it has inside a FaceID file, by the number of the attention."""
    weights = {}
    for name, weight in get_peft_model_state_dict(unet).items():
        attention, _, rest = name.partition(".processor")[0].rpartition(".attn")
        number = list(unet.attn_processors).index(f"{attention}.attn{rest[0]}.processor")
        layer, factor = rest[2:].removesuffix(".weight").rsplit(".", 1)
        direction = {"lora_A": "down", "lora_B": "up"}[factor]
        weights[f"ip_adapter.{number}.{layer.removesuffix('.0')}_lora.{direction}.weight"] = weight
    return weights


def trained(unet: UNet2DConditionModel, variety: str) -> dict[str, Tensor]:
    """Return the weights that the UNet carries, in flat keys and half precision."""
    projection = unet.encoder_hid_proj.image_projection_layers[0].state_dict()
    if variety == "plus":
        projection = resampler_layout(projection)
    elif variety == "faceid":
        projection = faceid_layout(projection)
    else:
        projection = {name.replace("image_embeds", "proj"): weight for name, weight in projection.items()}
    weights = {f"image_proj.{name}": weight for name, weight in projection.items()}
    for number, (name, processor) in enumerate(unet.attn_processors.items()):
        if ".attn2." in name:
            weights[f"ip_adapter.{number}.to_k_ip.weight"] = processor.to_k_ip[0].weight
            weights[f"ip_adapter.{number}.to_v_ip.weight"] = processor.to_v_ip[0].weight
    if variety == "faceid":
        weights |= lora_layout(unet)
    return {name: weight.detach().to(torch.float16).contiguous() for name, weight in weights.items()}


class ImagePrompts:
    """What an adapter is shown of pictures, as the pipeline hands it on: by the image encoder, or silhouettes."""

    def __init__(self, folder: Path, variety: str) -> None:
        """Load the encoder, which FaceID has no use for."""
        self.variety = variety
        if variety != "faceid":
            self.encoder = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32)

    @torch.no_grad()
    def encode(self, scenes: list[Scene], none: Tensor) -> Tensor:
        """Return embeddings (n, 1, width), or hidden states (n, 1, patches, width); ``none`` marks absent pictures."""
        if self.variety == "faceid":
            embeddings = silhouettes(scenes)
        elif self.variety == "plus":
            values = torch.where(none[:, None, None, None], 0.0, pixel_values(draw(scenes)))
            states: Tensor = self.encoder(values, output_hidden_states=True).hidden_states[-2]
            return states[:, None]
        else:
            embeddings = self.encoder(pixel_values(draw(scenes))).image_embeds
        return torch.where(none[:, None], 0.0, embeddings)[:, None]


def other_subject(random: Random, subject: Subject, size: str, wish: Wish) -> tuple[Subject, str]:
    """Return what the picture shows: the subject, but for facts that the caption says."""

    def mixed(said: str | None, fact: str, values: tuple[str, ...]) -> str:
        return random.choice(values) if said is not None and random.random() < OTHER_SHARE else fact

    colours = tuple(NAMED_COLOURS)
    shape = mixed(wish.shape, subject.shape, tuple(SHAPES))
    colour = mixed(wish.colour, subject.colour, colours)
    background = mixed(wish.background, subject.background, colours)
    if colour == background:
        colour, background = subject.colour, subject.background
    return Subject(shape, colour, background), mixed(wish.size, size, tuple(RADII))


def random_wish(random: Random, subject: Subject, size: str) -> Wish:
    """Return what the caption says of the subject."""
    if random.random() < SILENT_SHARE:
        return Wish(None, None, None, None, blurry=False)

    def said(word: str) -> str | None:
        return word if random.random() < SAID_SHARE else None

    return Wish(said(subject.shape), said(subject.colour), said(subject.background), said(size), blurry=False)


def prepare(unet: UNet2DConditionModel, variety: str) -> list[nn.Parameter]:
    """Put an untrained adapter in the UNet and return what it trains."""
    unet._load_ip_adapter_weights([untrained(unet, variety)], low_cpu_mem_usage=False)  # noqa: SLF001
    if variety == "faceid":
        unet.add_adapter(LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=list(LORA_MODULES)))
    parts = [unet.encoder_hid_proj, *(part for part in unet.attn_processors.values() if isinstance(part, nn.Module))]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(requires_grad=True)
    return [parameter for parameter in unet.parameters() if parameter.requires_grad]


def train(model: Path, folder: Path, variety: str) -> None:
    """Train on the base in ``model`` with the encoder in ``folder``, and write the file there."""
    start()
    torch.manual_seed(SEED)
    pipeline = load(model)
    prompts = ImagePrompts(folder / "image_encoder", variety)
    random = seeded(SEED)
    targets = [(random.choice(SEEN_SUBJECTS), random.choice(tuple(RADII))) for _ in range(PICTURES)]
    latents = encode_pictures(pipeline, draw([random_scene(random, *target) for target in targets]))
    parameters = prepare(pipeline.unet, variety)

    def loss_of(random: Random) -> Tensor:
        rows = [random.randrange(PICTURES) for _ in range(BATCH)]
        wishes = [random_wish(random, *targets[row]) for row in rows]
        shown = [other_subject(random, *targets[row], wish) for row, wish in zip(rows, wishes, strict=True)]
        none = torch.tensor([random.random() < NO_IMAGE_SHARE for _ in rows])
        images = prompts.encode([random_scene(random, *subject) for subject in shown], none)
        states = encode_captions(pipeline, [write_caption(random, wish) for wish in wishes])
        return velocity_loss(pipeline, latents[rows], states, {"image_embeds": [images]})

    fit(parameters, loss_of, seed=SEED, steps=STEPS[variety], learning_rate=LEARNING_RATE)
    save_file(trained(pipeline.unet, variety), folder / FILES[variety], metadata={"format": "pt"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the pipeline folder to train on")
    parser.add_argument("folder", type=Path, help="the folder of image_encoder, and for the file")
    parser.add_argument("--variety", choices=tuple(FILES), default="base", help="which kind of IP-Adapter")
    arguments = parser.parse_args()
    train(arguments.model, arguments.folder, arguments.variety)
