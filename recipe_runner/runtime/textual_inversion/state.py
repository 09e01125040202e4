"""The learned tokens of a pipeline: those of textual inversions, and those in LoRA files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recipe_runner.plan.resolved import ModelHandle, ResolvedAdapter, ResolvedLora, ResolvedTextualInversion
from recipe_runner.problems.problem import WeightsError, at
from recipe_runner.recipe.learned_tokens import same_token
from recipe_runner.runtime.family import TEXT_PARTS, present_parts
from recipe_runner.runtime.load.file_guard import unchanged
from recipe_runner.runtime.lora.file import module_shapes
from recipe_runner.runtime.lora.state import Loras
from recipe_runner.runtime.lru import Lru
from recipe_runner.runtime.textual_inversion.file import Learned, read_learned
from recipe_runner.runtime.textual_inversion.vocabulary import LearnedToken, Vocabulary
from recipe_runner.weights.embedding import token_width

MOST_READ = 64
"""Embedding files kept on the CPU, so that a token that is used again is not read again."""

_Identity = tuple[str, str | None, str | None]


class Embeddings:
    """The learned tokens of one loaded pipeline."""

    def __init__(self, pipeline: Any, loras: Loras, *, allow_pickle: bool) -> None:
        """Manage the text encoders of `pipeline`; `loras` reads the LoRA files with learned tokens."""
        self._loras = loras
        self._allow_pickle = allow_pickle
        self._shapes = module_shapes(pipeline)
        self._vocabularies: dict[str, Vocabulary] = {}
        for part in present_parts(pipeline, TEXT_PARTS):
            if token_width(self._shapes[part]) is not None:
                self._vocabularies[part] = Vocabulary(pipeline, part)
        self._read: Lru[_Identity, Learned] = Lru(MOST_READ)
        self._states: dict[str, list[tuple[tuple[str, str], str]]] = {}

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Teach the text encoders among `parts` the tokens of `handle`, independent of the scales of LoRAs.

        Raises:
            WeightsError: E620 to E625, when a token cannot be applied whole, or two adapters have the same token.
        """
        for part, tokens in self._wanted(handle).items():
            state = [(token.key, token.token) for token in tokens]
            if part in parts and self._states.get(part, []) != state:
                self._vocabularies[part].become(tokens)
                self._states[part] = state

    def _wanted(self, handle: ModelHandle) -> dict[str, list[LearnedToken]]:
        """The learned tokens of a handle by text encoder, each once."""
        wanted: dict[str, list[LearnedToken]] = {part: [] for part in self._vocabularies}
        taken: dict[tuple[str, str], tuple[str, LearnedToken]] = {}
        for adapter in handle.adapters:
            for part, token in self._tokens(adapter):
                owner, known = taken.setdefault((part, same_token(token.token)), (adapter.name, token))
                if known is token:
                    wanted[part].append(token)
                elif known.key != token.key or isinstance(adapter, ResolvedTextualInversion):
                    # One LoRA file under two names brings one token; in any other case the token is ambiguous.
                    with at(adapter.origin):
                        raise WeightsError.of(
                            "E624",
                            f"{owner} and {adapter.name} both stand for `{token.token}` in the {part}",
                            "give one of them another `token`, or take one out of the recipe",
                        )
        return wanted

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: the applied tensors of a textual inversion, and all that it has; {} for another kind."""
        if not isinstance(adapter, ResolvedTextualInversion):
            return {}
        return dict.fromkeys(self._learned(adapter).vectors, (1, 1))

    def _tokens(self, adapter: ResolvedAdapter) -> Iterator[tuple[str, LearnedToken]]:
        if isinstance(adapter, ResolvedLora):
            for token, vectors in self._loras.learned(adapter).items():
                for part, tensor in vectors.items():
                    yield part, LearnedToken((adapter.source.digest, token), token, tensor, adapter.target is not None)
        elif isinstance(adapter, ResolvedTextualInversion):
            learned = self._learned(adapter)
            for part, tensor in learned.vectors.items():
                yield part, LearnedToken((adapter.source.digest, ""), learned.token, tensor, adapter.target is not None)

    def _learned(self, adapter: ResolvedTextualInversion) -> Learned:
        def read() -> Learned:
            with at(adapter.origin), unchanged(adapter.source.require_found()):
                return read_learned(adapter, self._shapes, allow_pickle=self._allow_pickle)

        return self._read.get((adapter.source.digest, adapter.token, adapter.target), read)
