"""Compare the configuration of every part of a base with the header of its weights, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from recipe_runner.plan.adapters.base_modules import checkpoint_table, replaced_modules, tensor_shapes
from recipe_runner.plan.adapters.base_parts import index_classes
from recipe_runner.plan.resolved import ResolvedBase, ResolvedComponent
from recipe_runner.problems.problem import Problem, WeightsError
from recipe_runner.sources.component_files import read_json
from recipe_runner.sources.source import Source
from recipe_runner.weights.configuration import (
    Fault,
    contradictions,
    header_size,
    impossible,
    problems_in,
    shown,
    unfounded,
)
from recipe_runner.weights.modules import Shape

_CONFIG = "config.json"
_TOKENIZER = "tokenizer_config.json"
_FILES = (_CONFIG, "scheduler_config.json", _TOKENIZER)
_HINT = "take configuration and weights of the same model: download the folder again"
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")


@dataclass(frozen=True, slots=True)
class _Part:
    """One component: where its configuration lies, its class, and its weights' tensors as far as they are known."""

    name: str
    class_name: str
    source: Source
    prefix: str
    shapes: Mapping[str, Shape] | None

    def config(self, name: str) -> Mapping[str, Any] | None:
        """A configuration file of its folder; None where it has none of this name."""
        wanted = self.prefix + name
        if not any(file.name == wanted for file in self.source.files):
            return None
        return read_json(self.source.path(wanted), self.shown(name))

    def shown(self, name: str) -> str:
        """How a message names a file of its folder."""
        return str(PurePosixPath(self.source.address, self.prefix, name))

    def problems(self, name: str, faults: list[Fault]) -> list[Problem]:
        """Faults of a configuration file of its folder, at their places."""
        return problems_in(self.source.path(self.prefix + name), self.shown(name), "E517", faults, _HINT)


def check_base_configurations(base: ResolvedBase) -> None:
    """Refuse a base whose configuration contradicts its weights' headers, or cannot be that of any model.

    Raises:
        WeightsError: E517 with every contradiction, each at its key in the configuration file.
        RecipeRunnerError: as `read_contents` and `read_json`.
    """
    _raise(_problems(list(_parts(base))))


def check_component_configuration(name: str, component: ResolvedComponent) -> None:
    """As `check_base_configurations`, for a component that belongs to no base: an adapter's image encoder."""
    if isinstance(component.source, Source) and component.weight_name is None:
        part = _folder(name, component.source, component.subfolder, "")
        _raise(_problems([replace(part, class_name=_stated(part.config(_CONFIG) or {}))]))


def check_vocabularies(base: ResolvedBase) -> None:
    """Refuse a tokenizer with more tokens than its text encoder has embeddings.

    Vocabularies are megabytes of JSON: they are looked into when files are asked about, not for each plan.

    Raises:
        WeightsError: E517.
    """
    parts = {part.name: part for part in _parts(base)}
    problems = []
    for name, part in parts.items():
        rows = _encoder_size(parts, name, "vocab_size")
        for file in _VOCABULARIES if rows is not None else ():
            last = max(_token_numbers(part.config(file) or {}), default=0)
            if rows is not None and last >= rows:
                fault = Fault((), f"a token has the number {last}, and the text encoder has {rows} embeddings")
                problems += part.problems(file, [fault])
    _raise(problems)


def _token_numbers(vocabulary: Mapping[str, Any]) -> Iterator[int]:
    """The number of each token: of a plain vocabulary, or of a file of the tokenizers library."""
    model, added = vocabulary.get("model"), vocabulary.get("added_tokens")
    tokens = model.get("vocab") if isinstance(model, dict) else vocabulary
    if isinstance(tokens, list):
        yield len(tokens) - 1
    elif isinstance(tokens, dict):
        yield from (number for number in tokens.values() if isinstance(number, int))
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            yield token["id"]


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise WeightsError(*problems)


def _problems(parts: list[_Part]) -> list[Problem]:
    named = {part.name: part for part in parts}
    problems: list[Problem] = []
    for part in parts:
        for file in _FILES:
            config = part.config(file)
            if config is None:
                continue
            faults = list(impossible(file, config))
            if file == _CONFIG and part.shapes:
                faults += contradictions(part.class_name, config, part.shapes)
                faults += unfounded(config, len(part.shapes))
            if file == _TOKENIZER:
                faults += _tokens(named, part.name, config)
            # One value may be wrong for several reasons; the first is the nearest.
            problems += part.problems(file, list({fault.path: fault for fault in reversed(faults)}.values())[::-1])
    return problems


def _stated(config: Mapping[str, Any]) -> str:
    """The class that a component's own configuration names; empty where it names none."""
    architectures = config.get("architectures")
    names = [config.get("_class_name"), *(architectures if isinstance(architectures, list) else [])]
    return next((name for name in names if isinstance(name, str)), "")


def _encoder_size(parts: Mapping[str, _Part], tokenizer: str, key: str) -> int | None:
    """What the header of a tokenizer's text encoder says of its configuration's `key`; None where it is unknown."""
    part = parts.get(tokenizer.replace("tokenizer", "text_encoder"))
    if part is None or not tokenizer.startswith("tokenizer") or not part.shapes:
        return None
    return header_size(part.class_name, key, part.shapes)


def _tokens(parts: Mapping[str, _Part], tokenizer: str, config: Mapping[str, Any]) -> Iterator[Fault]:
    """Tokens that the text encoder has no embedding for, and prompts longer than it has positions for."""
    rows = _encoder_size(parts, tokenizer, "vocab_size")
    added = config.get("added_tokens_decoder")
    numbers = [int(key) for key in added if key.isdecimal()] if isinstance(added, dict) else []
    if rows is not None and numbers and max(numbers) >= rows:
        message = f"a token is added as number {max(numbers)}, and the text encoder has {rows} embeddings"
        yield Fault(("added_tokens_decoder", str(max(numbers))), message)
    positions, longest = _encoder_size(parts, tokenizer, "max_position_embeddings"), config.get("model_max_length")
    if positions is not None and isinstance(longest, (int, float)) and longest > positions:
        message = f"model_max_length is {shown(longest)}, and the text encoder has {positions} positions"
        yield Fault(("model_max_length",), message)


def _parts(base: ResolvedBase) -> Iterator[_Part]:
    """Every component of a base that has a folder with a configuration on this machine."""
    if not isinstance(base.source, Source):
        return
    classes = index_classes(base)
    own = base.source if base.weight_name is None else base.config
    modules = checkpoint_table(base, base.source) if base.weight_name is not None else None
    for name, class_name in classes.items():
        if name in base.components or not isinstance(own, Source):
            continue
        if base.weight_name is None:
            yield _folder(name, own, name, class_name)
        else:
            yield _Part(name, class_name, own, f"{name}/", _weights((modules or {}).get(name)))
    for name, component in base.components.items():
        if component is None:
            continue
        if component.weight_name is None and isinstance(component.source, Source):
            part = _folder(name, component.source, component.subfolder, "")
            yield replace(part, class_name=_stated(part.config(_CONFIG) or {}) or classes.get(name, ""))
        elif isinstance(own, Source):
            found = replaced_modules(name, component, classes.get(name))
            yield _Part(name, classes.get(name, ""), own, f"{name}/", _weights(found))


def _folder(name: str, source: Source, subfolder: str | None, class_name: str) -> _Part:
    prefix = f"{subfolder}/" if subfolder else ""
    return _Part(name, class_name, source, prefix, tensor_shapes(source, prefix))


def _weights(modules: Mapping[str, Shape] | None) -> dict[str, Shape] | None:
    """Modules as the tensors that they are named after."""
    return None if modules is None else {f"{name}.weight": shape for name, shape in modules.items()}
