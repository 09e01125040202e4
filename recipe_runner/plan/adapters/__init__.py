"""The kinds of adapters: one small file each, registered here by hand and in order."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from recipe_runner.plan.adapters.kind import Kind

KINDS = ("lora", "textual_inversion", "ip_adapter", "merge")


def kind_called(name: str) -> Kind:
    """The module of a kind, imported when a recipe first has one: no recipe pays for kinds that it does not have."""
    return cast("Kind", import_module(f"recipe_runner.plan.adapters.{KINDS[KINDS.index(name)]}"))
