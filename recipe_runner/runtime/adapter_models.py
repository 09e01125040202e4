"""From an adapter operation of the build graph to the adapter of a model handle, with where its files lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from recipe_runner.graph import Node
from recipe_runner.handle import AdapterModel, LoraModel, MergeModel, TextualInversionModel
from recipe_runner.resolved import AnySource, ResolvedAdapter
from recipe_runner.sources.source import Source


def found(source: AnySource) -> Source:
    """A source that must be on this machine by now."""
    if isinstance(source, Source):
        return source
    message = f"BUG: {source.address} was not found and not refused"
    raise AssertionError(message)


def lora_of(key: str, adapter: ResolvedAdapter) -> LoraModel:
    """The LoRA of a resolved adapter of that kind."""
    source = found(adapter.sources["weights"])
    return LoraModel(
        key=key,
        name=adapter.name,
        source=source,
        weight_name=source.files[0].name,
        target=cast("str | None", adapter.constants["target"]),
        alpha=cast("float | None", adapter.constants["alpha"]),
        origin=adapter.origin,
    )


def _textual_inversion(node: Node, adapter: ResolvedAdapter) -> TextualInversionModel:
    source = found(adapter.sources["weights"])
    return TextualInversionModel(
        key=node.key,
        name=adapter.name,
        source=source,
        weight_name=source.files[0].name,
        token=cast("str | None", node.constants["token"]),
        target=cast("str | None", node.constants["target"]),
        origin=adapter.origin,
    )


def merge_of(key: str, adapter: ResolvedAdapter) -> MergeModel:
    """The merge of a resolved adapter of that kind."""
    constants: dict[str, Any] = dict(adapter.constants)
    return MergeModel(
        key=key,
        name=adapter.name,
        members=tuple(lora_of("", member) for member in adapter.members),
        weights=tuple(constants.pop("weights")),
        scales=tuple(constants.pop("scales")),
        origin=adapter.origin,
        **constants,
    )


ADAPTER_MODELS: Mapping[str, Callable[[Node, ResolvedAdapter], AdapterModel]] = {
    "add_lora": lambda node, adapter: lora_of(node.key, adapter),
    "add_textual_inversion": _textual_inversion,
    "merge_loras": lambda node, adapter: merge_of(node.key, adapter),
}
"""By operation."""
