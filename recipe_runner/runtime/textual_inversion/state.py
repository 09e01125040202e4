"""The learned tokens that a pipeline knows: those of textual inversions, and those that LoRA files bring along."""

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
"""Embedding files kept on the CPU, so that a token that comes back is not read again."""

_Identity = tuple[str, str | None, str | None]


class Embeddings:
    """The learned tokens of one loaded pipeline. It begins with none."""

    def __init__(self, pipeline: Any, loras: Loras, *, allow_pickle: bool) -> None:
        """Take over the text encoders of `pipeline`; `loras` reads the files that bring tokens along."""
        self._loras = loras
        self._allow_pickle = allow_pickle
        self._shapes = module_shapes(pipeline)
        self._vocabularies = {
            part: Vocabulary(pipeline, part)
            for part in present_parts(pipeline, TEXT_PARTS)
            if token_width(self._shapes[part]) is not None
        }
        self._read: Lru[_Identity, Learned] = Lru(MOST_READ)
        self._states: dict[str, tuple[tuple[tuple[str, str], str], ...]] = {}

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Have the text encoders among `parts` know the tokens of `handle`, whatever the scales of LoRAs are.

        Raises:
            WeightsError: E620 to E625, when a token cannot be applied whole, or two adapters have one.
        """
        wanted: dict[str, list[LearnedToken]] = {part: [] for part in self._vocabularies}
        taken: dict[tuple[str, str], tuple[str, LearnedToken]] = {}
        for adapter in handle.adapters:
            for part, word in self._words(adapter):
                owner, known = taken.setdefault((part, same_token(word.token)), (adapter.name, word))
                if known is word:
                    wanted[part].append(word)
                elif known.key != word.key or isinstance(adapter, ResolvedTextualInversion):
                    # One LoRA file under two names brings one token; anything else is two that cannot be told apart.
                    with at(adapter.origin):
                        raise WeightsError.of(
                            "E624",
                            f"{owner} and {adapter.name} both stand for `{word.token}` in the {part}",
                            "give one of them another `token`, or take one out of the recipe",
                        )
        for part, words in wanted.items():
            state = tuple((word.key, word.token) for word in words)
            if part in parts and self._states.get(part, ()) != state:
                self._vocabularies[part].become(words)
                self._states[part] = state

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: tensors of a textual inversion that landed, and those that there are; {} for another kind."""
        if not isinstance(adapter, ResolvedTextualInversion):
            return {}
        return dict.fromkeys(self._learned(adapter).vectors, (1, 1))

    def _words(self, adapter: ResolvedAdapter) -> Iterator[tuple[str, LearnedToken]]:
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
