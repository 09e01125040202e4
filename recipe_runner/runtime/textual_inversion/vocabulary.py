"""The learned tokens of one CLIP text encoder. The base does not change: its table and its ids stay the same.

A copy of the encoder's tokenizer that reads learned tokens replaces it, and two hooks insert their vectors in place of
rows of the encoder's table. Without tokens, the pipeline has its own tokenizer and a model without hooks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.textual_inversion.tokenizer import reading_copy


@dataclass(frozen=True)
class LearnedToken:
    """A learned token and its vectors [number, width], on the CPU. `key` identifies the vectors, not the token's name.

    `alone` is true if the recipe gives the token to one encoder only.
    """

    key: tuple[str, str]
    token: str
    vectors: torch.Tensor
    alone: bool = False


class Vocabulary:
    """The learned tokens of the text encoder that a pipeline calls `part`."""

    def __init__(self, pipeline: Any, part: str) -> None:
        """Manage the encoder and its tokenizer, which have no learned tokens yet."""
        self._pipeline = pipeline
        self._part = part
        self._slot = part.replace("text_encoder", "tokenizer")
        self._own = getattr(pipeline, self._slot)
        encoder = getattr(pipeline, part)
        # CLIPTextModelWithProjection holds a CLIPTextModel, which is the model itself.
        self._model = getattr(encoder, "text_model", encoder)
        self._reader: Any = None
        self._hooks: tuple[Any, ...] = ()
        self._table = torch.empty(0)
        self._proved: set[tuple[tuple[str, str], str]] = set()

    def become(self, tokens: Sequence[LearnedToken]) -> None:
        """Have exactly these tokens, whose names differ.

        Raises:
            WeightsError: E606, when a token does not reach the encoder whole; E625, when its numbers are too large for
                the encoder's data type.
        """
        if not tokens:
            self._put(self._own)
            for hook in self._hooks:
                hook.remove()
            self._hooks = ()
            return
        self._learn(tokens)
        self._put(self._reader)
        if not self._hooks:
            self._hooks = (
                self._model.register_forward_pre_hook(self._renumber, with_kwargs=True),
                self._model.embeddings.register_forward_pre_hook(self._embed, with_kwargs=True),
            )
        for token in tokens:
            if (token.key, token.token) not in self._proved:
                self._prove(token)
                self._proved.add((token.key, token.token))

    def _learn(self, tokens: Sequence[LearnedToken]) -> None:
        """Fill the table of vectors, and give each token its range of them."""
        if self._reader is None:
            self._reader = reading_copy(self._own)
        weight = self._model.embeddings.position_embedding.weight
        self._table = torch.cat([token.vectors for token in tokens]).to(weight.device, weight.dtype)
        self._reader.add_vectors(len(self._table))
        start = 0
        self._reader.tokens = {}
        self._reader.alone = set()
        for token in tokens:
            self._reader.tokens[token.token] = range(start, start + len(token.vectors))
            start += len(token.vectors)
            if token.alone:
                self._reader.alone.add(token.token)

    def _put(self, tokenizer: Any) -> None:
        # The pipeline's own setter would write the class into its configuration.
        vars(self._pipeline)[self._slot] = tokenizer

    def _renumber(self, _model: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        # Vectors get ids below 0. The encoders of most checkpoints use the state at the largest id as the prompt's
        # (`eos_token_id` 2 in their configuration), so the largest id must stay the end mark's.
        def below(ids: torch.Tensor) -> torch.Tensor:
            return torch.where(ids >= self._reader.first, self._reader.first - 1 - ids, ids)

        return _with_ids(arguments, named, below)

    def _embed(self, embeddings: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        ids = named.get("input_ids")
        if ids is None:
            ids = arguments[0]
        learned = ids < 0
        rows = embeddings.token_embedding(ids.clamp(min=0))
        own = self._table[(-1 - ids).clamp(min=0)].to(rows)
        return arguments, {**named, "inputs_embeds": torch.where(learned[..., None], own, rows)}

    def _prove(self, token: LearnedToken) -> None:
        """Prove that the tokenizer reads the token as its vectors, and that the encoder's first layer gets them."""
        numbers = self._reader.tokens[token.token]
        own = self._table[numbers.start : numbers.stop]
        if not bool(torch.isfinite(own).all()):
            raise WeightsError.of(
                "E625", f"`{token.token}`: numbers are too large for {own.dtype}", "use base.dtype: float32"
            )
        ids = self._reader(token.token).input_ids
        read = [number - self._reader.first for number in ids if number >= self._reader.first]
        if read != list(numbers) or not self._are_embedded(numbers):
            raise WeightsError.of(
                "E606", f"{self._part}: `{token.token}` does not reach the encoder as its {len(numbers)} vectors"
            )

    def _are_embedded(self, numbers: range) -> bool:
        """Whether the encoder's first layer gets these vectors value for value, in windows of its length."""
        embeddings = self._model.embeddings
        positions = embeddings.position_embedding.weight
        window = embeddings.position_embedding.num_embeddings
        for first in range(0, len(numbers), window):
            part = numbers[first : first + window]
            ids = -1 - torch.tensor([list(part)], device=self._table.device)
            expected = self._table[part.start : part.stop] + positions[: len(part)]
            with torch.no_grad():
                if not torch.equal(embeddings(input_ids=ids)[0], expected):
                    return False
        return True


def _with_ids(arguments: tuple[Any, ...], named: dict[str, Any], change: Any) -> tuple[Any, Any]:
    if "input_ids" in named:
        return arguments, {**named, "input_ids": change(named["input_ids"])}
    return (change(arguments[0]), *arguments[1:]), named
