"""Compare the configuration of each component of a base with the header of its weights, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from recipe_runner.plan.adapters.base_modules import checkpoint_table, replaced_modules, tensor_shapes
from recipe_runner.plan.adapters.base_parts import index_classes
from recipe_runner.plan.resolved_base import AnySource, ResolvedBase, ResolvedComponent
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
    """One component: the place of its configuration, its class, and the shapes of its weights' tensors, if known."""

    name: str
    class_name: str
    source: Source
    prefix: str
    shapes: Mapping[str, Shape] | None

    def config(self, name: str) -> Mapping[str, Any] | None:
        """A configuration file of its folder; None if it does not have this file."""
        wanted = self.prefix + name
        if not any(file.name == wanted for file in self.source.files):
            return None
        return read_json(self.source.path(wanted), self.shown(name))

    def shown(self, name: str) -> str:
        """The name of a file of its folder in messages."""
        return str(PurePosixPath(self.source.address, self.prefix, name))

    def problems(self, name: str, faults: list[Fault]) -> list[Problem]:
        """Faults of a configuration file of its folder, at their places."""
        return problems_in(self.source.path(self.prefix + name), self.shown(name), "E517", faults, _HINT)


def check_base_configurations(base: ResolvedBase) -> None:
    """Refuse a base whose configuration contradicts its weights' headers, or is not valid for any model.

    Raises:
        WeightsError: E517 with every contradiction, each at its key in the configuration file.
        RecipeRunnerError: as `read_contents` and `read_json`.
    """
    _raise(_problems(list(_parts(base))))


def check_component_configuration(name: str, component: ResolvedComponent) -> None:
    """Do the same as `check_base_configurations` for an adapter's image encoder, which belongs to no base."""
    if isinstance(component.source, Source) and component.weight_name is None:
        part = _folder(name, component.source, component.subfolder, "")
        _raise(_problems([replace(part, class_name=_stated(part.config(_CONFIG) or {}))]))


def check_vocabularies(base: ResolvedBase) -> None:
    """Refuse a tokenizer with more tokens than its text encoder has embeddings.

    Vocabularies are megabytes of JSON, so they are not read for each plan.

    Raises:
        WeightsError: E517.
    """
    parts = {part.name: part for part in _parts(base)}
    problems = []
    for name, part in parts.items():
        rows = _encoder_size(parts, name, "vocab_size")
        if rows is None:
            continue
        for file in _VOCABULARIES:
            last = max(_token_numbers(part.config(file) or {}), default=0)
            if last >= rows:
                fault = Fault((), f"a token has the number {last}, and the text encoder has {rows} embeddings")
                problems += part.problems(file, [fault])
    _raise(problems)


def _token_numbers(vocabulary: Mapping[str, Any]) -> Iterator[int]:
    """The number of each token in a plain vocabulary, or in a file of the tokenizers library."""
    tokens: Any = vocabulary
    model, added = vocabulary.get("model"), vocabulary.get("added_tokens")
    if isinstance(model, dict):
        tokens = model.get("vocab")
    if isinstance(tokens, list):
        yield len(tokens) - 1
    elif isinstance(tokens, dict):
        yield from (number for number in tokens.values() if isinstance(number, int))
    if not isinstance(added, list):
        return
    for token in added:
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
            # A value may be wrong for several reasons; the first is the most precise.
            first: dict[object, Fault] = {}
            for fault in faults:
                first.setdefault(fault.path, fault)
            problems += part.problems(file, list(first.values()))
    return problems


def _stated(config: Mapping[str, Any]) -> str:
    """The class that a component's own configuration names; empty if it names none."""
    names = [config.get("_class_name")]
    architectures = config.get("architectures")
    if isinstance(architectures, list):
        names += architectures
    return next((name for name in names if isinstance(name, str)), "")


def _encoder_size(parts: Mapping[str, _Part], tokenizer: str, key: str) -> int | None:
    """The value of the configuration's `key` by the header of a tokenizer's text encoder; None if it is unknown."""
    part = parts.get(tokenizer.replace("tokenizer", "text_encoder"))
    if part is None or not tokenizer.startswith("tokenizer") or not part.shapes:
        return None
    return header_size(part.class_name, key, part.shapes)


def _tokens(parts: Mapping[str, _Part], tokenizer: str, config: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults for tokens without an embedding in the text encoder, and for prompts longer than its positions."""
    rows = _encoder_size(parts, tokenizer, "vocab_size")
    added = config.get("added_tokens_decoder")
    numbers: list[int] = []
    if isinstance(added, dict):
        numbers = [int(key) for key in added if key.isdecimal()]
    if rows is not None and numbers and max(numbers) >= rows:
        message = f"a token is added as number {max(numbers)}, and the text encoder has {rows} embeddings"
        yield Fault(("added_tokens_decoder", str(max(numbers))), message)
    positions, longest = _encoder_size(parts, tokenizer, "max_position_embeddings"), config.get("model_max_length")
    if positions is not None and isinstance(longest, (int, float)) and longest > positions:
        message = f"model_max_length is {shown(longest)}, and the text encoder has {positions} positions"
        yield Fault(("model_max_length",), message)


def _parts(base: ResolvedBase) -> Iterator[_Part]:
    """Every component of a base with a configuration on this machine."""
    if not isinstance(base.source, Source):
        return
    classes = index_classes(base)
    own_classes = {name: class_name for name, class_name in classes.items() if name not in base.components}
    if base.weight_name is None:
        own: AnySource | None = base.source
        for name, class_name in own_classes.items():
            yield _folder(name, base.source, name, class_name)
    else:
        own = base.config
        yield from _checkpoint_parts(base, base.source, own_classes)
    for name, component in base.components.items():
        if component is not None:
            yield from _replaced_part(name, component, own, classes.get(name))


def _checkpoint_parts(base: ResolvedBase, source: Source, classes: Mapping[str, str]) -> Iterator[_Part]:
    """The components of a single-file checkpoint, with the configurations beside it."""
    modules = checkpoint_table(base, source) or {}
    if isinstance(base.config, Source):
        for name, class_name in classes.items():
            yield _Part(name, class_name, base.config, f"{name}/", _weights(modules.get(name)))


def _replaced_part(
    name: str, component: ResolvedComponent, own: AnySource | None, class_name: str | None
) -> Iterator[_Part]:
    """A replaced component with the configuration in its folder, or in `own`, the base's, for a single file."""
    if component.weight_name is None and isinstance(component.source, Source):
        part = _folder(name, component.source, component.subfolder, "")
        yield replace(part, class_name=_stated(part.config(_CONFIG) or {}) or class_name or "")
    elif isinstance(own, Source):
        modules = replaced_modules(name, component, class_name)
        yield _Part(name, class_name or "", own, f"{name}/", _weights(modules))


def _folder(name: str, source: Source, subfolder: str | None, class_name: str) -> _Part:
    prefix = ""
    if subfolder:
        prefix = f"{subfolder}/"
    return _Part(name, class_name, source, prefix, tensor_shapes(source, prefix))


def _weights(modules: Mapping[str, Shape] | None) -> dict[str, Shape] | None:
    """The weight tensors of modules."""
    if modules is None:
        return None
    return {f"{name}.weight": shape for name, shape in modules.items()}
