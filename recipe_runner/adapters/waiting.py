"""Kinds that the language knows and this version cannot apply yet: refused by name, never left out silently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from recipe_runner.adapters.kind import Surroundings
from recipe_runner.errors import Problem, WeightsError
from recipe_runner.graph import Origin


def resolve(name: str, entry: Mapping[str, Any], surroundings: Surroundings, origin: Origin) -> NoReturn:
    """Refuse."""
    del surroundings, origin
    raise WeightsError(
        Problem(
            code="E690",
            message=f"adapter {name}: this version does not apply adapters of kind {entry['kind']} yet",
            hint="take the adapter out of the recipe; adapters of kind lora are applied",
        )
    )
