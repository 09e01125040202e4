"""Raise the error that stops a run before it samples when an adapter does not fit its base as a whole."""

from __future__ import annotations

from collections.abc import Collection

from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.wording import shown
from recipe_runner.weights.lora.layout import LoraLayout

_SHOWN = 3
_LONGEST = 300
_SINGLE = ("alpha", "scalar", "on_input")
"""Roles of one number, which may be an integer."""


class AdapterMismatch(WeightsError):
    """An adapter does not fit its base as a whole."""


def require_whole(layout: LoraLayout, label: str) -> LoraLayout:
    """The layout itself, when every tensor fits or is left out on purpose. `label` names it: `adapter style`.

    Raises:
        AdapterMismatch: E602 no tensor fits, E601 some tensors do not fit, with counts, names and reasons.
    """
    if not layout.modules and not layout.embeddings:
        raise _nothing(layout, label)
    if layout.unmatched:
        raise AdapterMismatch.of(
            "E601",
            f"{label}: {len(layout.unmatched)} of {layout.tensor_count} tensors do not fit the base: "
            f"{_reasons(layout)}",
            layout.advice or "an adapter is applied whole or not at all: use a file made for this base",
        )
    return layout


def require_floats(layout: LoraLayout, not_floating: Collection[str], label: str) -> None:
    """The tensors in use hold floating point numbers; `not_floating` are the file's keys of other data types.

    Raises:
        AdapterMismatch: E616.
    """
    for module in layout.modules:
        for role, key in module.tensors.items():
            if key in not_floating and role not in _SINGLE:
                raise AdapterMismatch.of(
                    "E616",
                    f"{label}: {shown(key, _LONGEST)} does not hold floating point numbers",
                    "the file is quantised or damaged: use one in float16, bfloat16 or float32",
                )


def require_alpha(layout: LoraLayout, given: float | None, label: str) -> None:
    """An alpha in the recipe is for a file that has ranks and states no alpha.

    Raises:
        AdapterMismatch: E609 the file states its own, E632 nothing in it has a rank.
    """
    if given is None:
        return
    for module in layout.modules:
        if module.alpha is not None or "alpha" in module.tensors:
            message = f"{label}: the file states its own alpha, of {module.component} {module.module}"
            raise AdapterMismatch.of("E609", message, "remove `alpha`; it is for files that state none").on("alpha")
    if not any(module.rank for module in layout.modules):
        message = f"{label}: the file has no rank to divide an alpha by"
        raise AdapterMismatch.of("E632", message, "remove `alpha`, and change `scale` instead").on("alpha")


def _nothing(layout: LoraLayout, label: str) -> AdapterMismatch:
    hint = layout.advice or "check that the file is a LoRA, and made for this base"
    if not layout.tensor_count:
        return AdapterMismatch.of("E602", f"{label}: the file holds no tensors", hint)
    count = f"none of {layout.tensor_count} tensors"
    if layout.unmatched:
        return AdapterMismatch.of("E602", f"{label}: {count} fits the base: {_reasons(layout)}", hint)
    if layout.dropped:
        message = f"{label}: {count} is for the target ({layout.dropped[0][1]})"
        return AdapterMismatch.of("E602", message, "change or remove `target`").on("target")
    return AdapterMismatch.of("E602", f"{label}: {count} fits the base", hint)


def _reasons(layout: LoraLayout) -> str:
    """The first reasons, each once, with the first key that it is true of and how many more there are."""
    keys: dict[str, list[str]] = {}
    for key, reason in layout.unmatched:
        keys.setdefault(reason, []).append(key)
    said: list[str] = []
    left = len(layout.unmatched)
    for reason, found in list(keys.items())[:_SHOWN]:
        # Names come from outside: they may hold line breaks and control sequences of terminals.
        name = shown(found[0], _LONGEST) or "a tensor without a name"
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        said.append(f"{name} ({shown(reason, _LONGEST)}){more}")
        left -= len(found)
    if left:
        said.append(f"and {left} more")
    return "; ".join(said)
