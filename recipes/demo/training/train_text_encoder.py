"""Teach the text encoder what captions say, before any picture: heads read each fact off its last hidden states.

Run by hand: ``python -m training.train_text_encoder --work WORK``. Writes the tokenizer and the text encoder.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from random import Random
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .captions import Wish, vocabulary_words, write_caption
from .shapes import NAMED_COLOURS, SHAPES, SIZE_WORDS, seeded
from .tokenizer import MAX_LENGTH, build_tokenizer

SEED: Final = 12
WIDTH: Final = 128
BATCH: Final = 64
STEPS: Final = 1500
LEARNING_RATE: Final = 1e-3
WARM_UP: Final = 50
OPEN_SHARE: Final = 0.12
"""How often a caption leaves the shape, a colour or the background open; the size stays open half of the time."""

BLURRY_SHARE: Final = 0.1

FACTS: Final[dict[str, tuple[str | None, ...]]] = {
    "shape": (None, *SHAPES),
    "colour": (None, *NAMED_COLOURS),
    "background": (None, *NAMED_COLOURS),
    "size": (None, *SIZE_WORDS),
}


class Reader(nn.Module):
    """Linear heads that name each fact of a caption from any one hidden state; used in training only."""

    def __init__(self) -> None:
        """Make one head for each fact, and one for blur."""
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, len(values)) for name, values in FACTS.items()})
        self.heads["blurry"] = nn.Linear(WIDTH, 2)

    def losses(self, states: Tensor, wishes: list[Wish]) -> tuple[Tensor, float]:
        """Return the mean cross entropy over states (n, positions, width), and the share of facts read rightly."""
        loss, right = states.new_zeros(()), 0.0
        for name, head in self.heads.items():
            values = FACTS.get(name, (False, True))
            target = torch.tensor([values.index(getattr(wish, name)) for wish in wishes])
            scores = head(states)
            spread = target[:, None].expand(scores.shape[:2])
            loss = loss + functional.cross_entropy(scores.flatten(0, 1), spread.flatten())
            right += (scores.argmax(-1) == spread).float().mean().item() / len(self.heads)
        return loss, right


def random_wish(random: Random) -> Wish:
    """Return a wish for any combination: words carry no pictures, so none has to be held out."""

    def maybe(values: tuple[str, ...], open_share: float = OPEN_SHARE) -> str | None:
        return None if random.random() < open_share else random.choice(values)

    return Wish(
        shape=maybe(tuple(SHAPES)),
        colour=maybe(tuple(NAMED_COLOURS)),
        background=maybe(tuple(NAMED_COLOURS)),
        size=maybe(tuple(SIZE_WORDS), 0.5),
        blurry=random.random() < BLURRY_SHARE,
    )


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Return the token ids as the pipeline makes them, padded with end marks to the full length."""
    encoded = tokenizer(captions, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    return ids


def build(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return the untrained text encoder."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def train(work: Path) -> None:
    """Train with one thread and save the tokenizer and the text encoder in their folders."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    random = seeded(SEED)
    tokenizer = build_tokenizer(vocabulary_words())
    encoder, reader = build(tokenizer), Reader()
    parameters = [*encoder.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / STEPS))
    )
    began = time.process_time()
    for step in range(1, STEPS + 1):
        wishes = [random_wish(random) for _ in range(BATCH)]
        ids = tokens(tokenizer, [write_caption(random, wish) for wish in wishes])
        states = encoder(ids).last_hidden_state
        ends = (ids == tokenizer.eos_token_id).int().argmax(-1)
        pick = torch.randint(0, MAX_LENGTH, (BATCH, 3)) % (MAX_LENGTH - ends[:, None]) + ends[:, None]
        pick[:, 0] = ends
        loss, right = reader.losses(states[torch.arange(BATCH)[:, None], pick], wishes)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f} right {right:.4f} cpu seconds {time.process_time() - began:.0f}")
    tokenizer.save_pretrained(work / "tokenizer")
    encoder.save_pretrained(work / "text_encoder")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder for what training leaves")
    train(parser.parse_args().work)
