"""From an adapter operation of the build graph to the adapter of a model handle, with where its files lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from recipe_runner.graph import Node
from recipe_runner.handle import AdapterModel, LoraModel, TextualInversionModel
from recipe_runner.resolved import AnySource, ResolvedAdapter
from recipe_runner.sources.source import Source


def found(source: AnySource) -> Source:
    """A source that must be on this machine by now."""
    if isinstance(source, Source):
        return source
    message = f"BUG: {source.address} was not found and not refused"
    raise AssertionError(message)


def _lora(node: Node, adapter: ResolvedAdapter) -> LoraModel:
    source = found(adapter.sources["weights"])
    return LoraModel(
        key=node.key,
        name=adapter.name,
        source=source,
        weight_name=source.files[0].name,
        target=cast("str | None", node.constants["target"]),
        alpha=cast("float | None", node.constants["alpha"]),
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


ADAPTER_MODELS: Mapping[str, Callable[[Node, ResolvedAdapter], AdapterModel]] = {
    "add_lora": _lora,
    "add_textual_inversion": _textual_inversion,
}
"""By operation."""
