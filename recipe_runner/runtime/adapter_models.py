"""From an adapter operation of the build graph to the adapter of a model handle, with where its files lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from recipe_runner.graph.graph import Node
from recipe_runner.plan.handle import (
    AdapterModel,
    ComponentModel,
    ImagePrompt,
    IpAdapterModel,
    LoraModel,
    MergeModel,
    TextualInversionModel,
)
from recipe_runner.plan.resolved import AnySource, ResolvedAdapter, ResolvedComponent, ResolvedImagePrompt
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
        config=found(adapter.sources["config"]) if "config" in adapter.sources else None,
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


def _ip_adapter(node: Node, adapter: ResolvedAdapter) -> IpAdapterModel:
    source = found(adapter.sources["weights"])
    return IpAdapterModel(
        key=node.key,
        name=adapter.name,
        source=source,
        weight_name=source.files[0].name,
        shortcut=bool(node.constants["shortcut"]),
        masks=tuple(found(source) for role, source in adapter.sources.items() if role.startswith("mask")),
        origin=adapter.origin,
    )


def image_prompt(shown: ResolvedImagePrompt, *, allow_pickle: bool) -> ImagePrompt:
    """What an IP-Adapter is shown, with where the files lie."""
    sources = {name: found(source) for name, source in shown.sources.items()}
    encoder = shown.encoder
    if shown.shown is None:
        message = f"BUG: what adapter {shown.adapter} reads is not known"
        raise AssertionError(message)
    return ImagePrompt(
        name=shown.adapter,
        shown=shown.shown,
        pictures=tuple(source for name, source in sources.items() if name.startswith("image[")),
        embeds=tuple(source for name, source in sources.items() if name.startswith("image_embeds[")),
        encoder=None if encoder is None else component_model(encoder),
        faces=sources.get("faces"),
        allow_pickle=allow_pickle,
    )


def component_model(component: ResolvedComponent) -> ComponentModel:
    """A replaced component, with where its files lie."""
    return ComponentModel(
        source=found(component.source),
        subfolder=component.subfolder,
        weight_name=component.weight_name,
        variant=component.variant,
        dtype=component.dtype,
    )


ADAPTER_MODELS: Mapping[str, Callable[[Node, ResolvedAdapter], AdapterModel]] = {
    "add_lora": lambda node, adapter: lora_of(node.key, adapter),
    "add_textual_inversion": _textual_inversion,
    "merge_loras": lambda node, adapter: merge_of(node.key, adapter),
    "add_ip_adapter": _ip_adapter,
}
"""By operation."""
