"""Turn a layout that does not account for every tensor into the error that stops a run before it samples."""

from __future__ import annotations

from collections.abc import Collection

from recipe_runner.problems.problem import Problem, WeightsError
from recipe_runner.problems.wording import shown
from recipe_runner.weights.lora.layout import LoraLayout

_SHOWN = 3
_LONGEST = 300
_SINGLE = ("alpha", "scalar", "on_input")
"""Roles that are one number, which may well be a whole one."""


class AdapterMismatch(WeightsError):
    """An adapter that does not land whole on its base."""


def require_whole(layout: LoraLayout, label: str) -> LoraLayout:
    """The layout itself, when every tensor lands or is rightly left out. `label` names the adapter: `adapter style`.

    Raises:
        AdapterMismatch: E602 nothing lands at all, E601 some tensors land nowhere, with counts, names and reasons.
    """
    if not layout.modules and not layout.embeddings:
        raise _nothing(layout, label)
    if layout.unmatched:
        raise AdapterMismatch(_some(layout, label))
    return layout


def require_floats(layout: LoraLayout, not_floating: Collection[str], label: str) -> None:
    """What lands holds floating point numbers; `not_floating` are the file's keys of other data types.

    Raises:
        AdapterMismatch: E616.
    """
    for module in layout.modules:
        for role, key in module.tensors.items():
            if key in not_floating and role not in _SINGLE:
                message = f"{label}: the numbers in {shown(key, _LONGEST)} are no floating point numbers"
                hint = "the file is quantised or spoilt: use one in float16, bfloat16 or float32"
                raise AdapterMismatch(Problem(code="E616", message=message, hint=hint))


def require_alpha(layout: LoraLayout, given: float | None, label: str) -> None:
    """An alpha that the recipe gives is for a file that has ranks and states no alpha.

    Raises:
        AdapterMismatch: E609 the file states its own, E632 nothing in it has a rank.
    """
    if given is None:
        return
    for module in layout.modules:
        if module.alpha is not None or "alpha" in module.tensors:
            message = f"{label}: the file states its own alpha, of {module.component} {module.module}"
            hint = "remove `alpha`; it is for files that state none"
            raise AdapterMismatch(Problem(code="E609", message=message, hint=hint)).on("alpha")
    if not any(module.rank for module in layout.modules):
        message = f"{label}: nothing in the file has a rank that an alpha could be divided by"
        problem = Problem(code="E632", message=message, hint="remove `alpha`, and change `scale` instead")
        raise AdapterMismatch(problem).on("alpha")


def _nothing(layout: LoraLayout, label: str) -> AdapterMismatch:
    if layout.dropped and not layout.unmatched:
        message = f"{label}: none of {layout.tensor_count} tensors is for the target ({layout.dropped[0][1]})"
        return AdapterMismatch(Problem(code="E602", message=message, hint="change or remove `target`")).on("target")
    reasons = f": {_reasons(layout)}" if layout.unmatched else ""
    message = f"{label}: none of {layout.tensor_count} tensors lands on the base{reasons}"
    if not layout.tensor_count:
        message = f"{label}: the file holds no tensors"
    hint = layout.advice or "is this file a LoRA, and for this base?"
    return AdapterMismatch(Problem(code="E602", message=message, hint=hint))


def _some(layout: LoraLayout, label: str) -> Problem:
    return Problem(
        code="E601",
        message=f"{label}: {len(layout.unmatched)} of {layout.tensor_count} tensors land nowhere: {_reasons(layout)}",
        hint=layout.advice or "an adapter is applied whole or not at all: use a file made for this base",
    )


def _reasons(layout: LoraLayout) -> str:
    """The first reasons, each once, with the first key it is true of and how many more."""
    keys: dict[str, list[str]] = {}
    for key, reason in layout.unmatched:
        keys.setdefault(reason, []).append(key)
    said = [
        # Names are a stranger's: they may hold line breaks and what a terminal obeys.
        f"{shown(found[0], _LONGEST) or 'a tensor without a name'} ({shown(reason, _LONGEST)})"
        + (f" and {len(found) - 1} more" if len(found) > 1 else "")
        for reason, found in list(keys.items())[:_SHOWN]
    ]
    left = sum(len(found) for found in list(keys.values())[_SHOWN:])
    return "; ".join(said) + (f"; and {left} more" if left else "")
