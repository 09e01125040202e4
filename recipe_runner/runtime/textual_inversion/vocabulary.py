"""The learned tokens of one CLIP text encoder. Nothing of the base is changed: no table grows, no id is given away.

The encoder's tokenizer is exchanged for a copy that reads learned tokens, and two hooks put their vectors where rows of
the encoder's table would stand. When the last token leaves, the tokenizer and a model without hooks are back.
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
    """A learned token and its vectors [number, width], on the CPU. `key` says what they are, whatever they are called.

    `alone` is true where the recipe says that it is for one encoder only.
    """

    key: tuple[str, str]
    token: str
    vectors: torch.Tensor
    alone: bool = False


class Vocabulary:
    """The learned tokens of the text encoder that a pipeline has as `part`. It begins with none."""

    def __init__(self, pipeline: Any, part: str) -> None:
        """Look at the encoder and its tokenizer, as their files left them."""
        self._pipeline = pipeline
        self._part = part
        self._slot = part.replace("text_encoder", "tokenizer")
        self._own = getattr(pipeline, self._slot)
        encoder = getattr(pipeline, part)
        # CLIPTextModelWithProjection holds the model that CLIPTextModel is.
        self._model = getattr(encoder, "text_model", encoder)
        self._reader: Any = None
        self._hooks: tuple[Any, ...] = ()
        self._table = torch.empty(0)
        self._proved: set[tuple[tuple[str, str], str]] = set()

    def become(self, words: Sequence[LearnedToken]) -> None:
        """Know exactly these words, whose tokens differ.

        Raises:
            WeightsError: E606, when a word does not reach the encoder whole; E625, when its numbers are too large for
                the encoder's data type.
        """
        if not words:
            self._put(self._own)
            for hook in self._hooks:
                hook.remove()
            self._hooks = ()
            return
        if self._reader is None:
            self._reader = reading_copy(self._own)
        weight = self._model.embeddings.position_embedding.weight
        self._table = torch.cat([word.vectors for word in words]).to(weight.device, weight.dtype)
        self._reader.add_vectors(len(self._table))
        begins = 0
        self._reader.tokens = {}
        self._reader.alone = tuple(word.token for word in words if word.alone)
        for word in words:
            self._reader.tokens[word.token] = range(begins, begins + len(word.vectors))
            begins += len(word.vectors)
        self._put(self._reader)
        if not self._hooks:
            self._hooks = (
                self._model.register_forward_pre_hook(self._renumber, with_kwargs=True),
                self._model.embeddings.register_forward_pre_hook(self._embed, with_kwargs=True),
            )
        for word in words:
            if (word.key, word.token) not in self._proved:
                self._prove(word)
                self._proved.add((word.key, word.token))

    def _put(self, tokenizer: Any) -> None:
        # Past the pipeline's own setter, which would write the class into its configuration.
        vars(self._pipeline)[self._slot] = tokenizer

    def _renumber(self, _model: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        # Vectors get ids below 0. The encoders of most checkpoints take the state at the largest id for the prompt's
        # (`eos_token_id` 2 in their configuration), which must stay the end mark.
        def below(ids: torch.Tensor) -> torch.Tensor:
            return torch.where(ids >= self._reader.first, self._reader.first - 1 - ids, ids)

        return _with_ids(arguments, named, below)

    def _embed(self, embeddings: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        ids = named["input_ids"] if "input_ids" in named else arguments[0]
        learned = ids < 0
        rows = embeddings.token_embedding(ids.clamp(min=0))
        own = self._table[(-1 - ids).clamp(min=0)].to(rows)
        return arguments, {**named, "inputs_embeds": torch.where(learned[..., None], own, rows)}

    def _prove(self, word: LearnedToken) -> None:
        """The tokenizer reads the word as its vectors, and the encoder's first layer gets them, value for value."""
        numbers = self._reader.tokens[word.token]
        own = self._table[numbers.start : numbers.stop]
        if not bool(torch.isfinite(own).all()):
            raise WeightsError.of(
                "E625", f"`{word.token}`: numbers are too large for {own.dtype}", "use base.dtype: float32"
            )
        ids = self._reader(word.token).input_ids
        read = [number - self._reader.first for number in ids if number >= self._reader.first]
        embeddings = self._model.embeddings
        window = embeddings.position_embedding.num_embeddings
        with torch.no_grad():
            landed = all(
                torch.equal(
                    embeddings(input_ids=torch.tensor([[-1 - number for number in some]], device=own.device))[0],
                    self._table[some.start : some.stop] + embeddings.position_embedding.weight[: len(some)],
                )
                for some in (numbers[first : first + window] for first in range(0, len(numbers), window))
            )
        if read != list(numbers) or not landed:
            raise WeightsError.of(
                "E606", f"{self._part}: `{word.token}` does not reach it as its {len(numbers)} vectors"
            )


def _with_ids(arguments: tuple[Any, ...], named: dict[str, Any], change: Any) -> tuple[Any, Any]:
    if "input_ids" in named:
        return arguments, {**named, "input_ids": change(named["input_ids"])}
    return (change(arguments[0]), *arguments[1:]), named
