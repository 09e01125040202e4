"""A token of several vectors that can be trained while the text encoder keeps still, and the files it is saved in."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn


class Placeholder:
    """Trainable vectors behind a token of the pipeline's tokenizer.

    Attributes:
        token: What the embedding is called.
        text: How the trainer's captions spell it: one token for each vector.
        vectors: The embeddings (n, width), one row for each vector.
    """

    def __init__(self, pipeline: StableDiffusionPipeline, token: str, count: int, start: str) -> None:
        """Add the tokens; all vectors begin at the embedding of a word, a little apart."""
        tokenizer, embeddings = pipeline.tokenizer, pipeline.text_encoder.get_input_embeddings()
        known = len(tokenizer)
        names = [token.lower() if i == 0 else f"{token.lower()}_{i}" for i in range(count)]
        tokenizer.add_tokens(names)
        first = embeddings.weight[tokenizer.convert_tokens_to_ids(f"{start}</w>")]
        deviation = float(embeddings.weight.std())
        self.token, self.text = token, " ".join(names)
        self.vectors = nn.Parameter(first + 0.1 * deviation * torch.randn(count, len(first)))

        def look_up(_module: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
            self._ids = arguments[0]
            return (arguments[0].clamp(max=known - 1),)

        def fill_in(_module: nn.Module, _arguments: tuple[Tensor], output: Tensor) -> Tensor:
            row = self._ids - known
            return torch.where((row >= 0)[..., None], self.vectors[row.clamp(min=0)], output)

        embeddings.register_forward_pre_hook(look_up)
        embeddings.register_forward_hook(fill_in)

    def save_diffusers(self, file: Path) -> None:
        """Write the file that diffusers' trainer writes: the token names the tensor."""
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({self.token: self.vectors.detach().contiguous()}, file, metadata={"format": "pt"})

    def save_a1111(self, file: Path) -> None:
        """Write the file of AUTOMATIC1111's layout: the file's name is the token."""
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"emb_params": self.vectors.detach().contiguous()}, file, metadata={"format": "pt"})
