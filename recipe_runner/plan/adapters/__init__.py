"""The kinds of adapters: one module each, registered here in order."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from recipe_runner.plan.adapters.kind import Kind

KINDS = ("lora", "textual_inversion", "ip_adapter", "merge")


def kind_called(name: str) -> Kind:
    """The module of a kind, imported only if a recipe has an adapter of it."""
    return cast("Kind", import_module(f"recipe_runner.plan.adapters.{KINDS[KINDS.index(name)]}"))
