"""Identify a weights file: its kind, layout and family, as one value."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.contents import Contents, read_contents, stored_bytes
from recipe_runner.weights.files.formats import PICKLED
from recipe_runner.weights.files.header import TensorInfo
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.kinds import KINDS
from recipe_runner.weights.identify.metadata import cut, shown, trigger_words
from recipe_runner.weights.identify.verdict import Broken, Match, NotMine, Verdict

_SCALARS = {"F16": "<e", "F32": "<f", "F64": "<d", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B"}
_MOST_ALPHAS = 20_000
_MOST_VALUES = 40
_LONGEST_SCALAR = 8
"""Bytes of the largest number."""


@dataclass(frozen=True, slots=True)
class Reason:
    """The verdict of one kind on the file, `match`, `no` or `broken`, and why."""

    kind: str
    verdict: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a weights file or folder is.

    Attributes:
        path: the path as given.
        kind: the kind; `unknown` when no kind matches.
        layout: the convention that names the tensors, such as `diffusers`; None when unknown or when there is only one.
        family: the model family; None when the shapes do not identify it.
        broken: why the file cannot be used; empty when it can.
        reasons: the verdict of every kind, the decisive one first.
        tree: the rest, as plain data: format, variety, parameters, dtypes, details, metadata, trigger words.
    """

    path: str
    kind: str
    layout: str | None = None
    family: str | None = None
    tensor_count: int = 0
    broken: str = ""
    reasons: tuple[Reason, ...] = ()
    tree: Mapping[str, Json] = field(default_factory=dict)


def identify_file(path: Path, config: Mapping[str, Any] | None = None) -> Identity:
    """Identify the weights file at `path`. `config` is its component's config.json, if it has one."""
    try:
        contents = read_contents(path)
    except WeightsError as error:
        problem = error.problems[0]
        message = problem.message.removeprefix(f"{path}: ")
        hint = f" ({problem.hint})" if problem.hint else ""
        reason = Reason("unknown", "broken", message + hint)
        return Identity(path=str(path), kind="unknown", broken=message, reasons=(reason,))
    return identify_contents(str(path), contents, config, alphas=_alphas(path, contents))


def identify_contents(
    path: str, contents: Contents, config: Mapping[str, Any] | None = None, alphas: Mapping[str, Json] | None = None
) -> Identity:
    """Identify tensors. `alphas` counts the values of their alpha tensors."""
    evidence = Evidence(contents, config or {}, Path(path).name)
    verdicts = _verdicts(evidence)
    match = next((verdict for verdict in verdicts.values() if isinstance(verdict, Match)), None)
    broken = next((verdict for verdict in verdicts.values() if isinstance(verdict, Broken)), None)
    decisive = match or broken
    family = layout = None
    if match is not None:
        family, layout, broken = match.family, match.layout or None, None
    return Identity(
        path=path,
        kind="unknown" if decisive is None else decisive.kind,
        layout=layout,
        family=family,
        tensor_count=len(contents.shapes),
        broken="" if broken is None else broken.reason,
        reasons=_reasons(verdicts, decisive),
        tree=_tree(contents, evidence, match, alphas),
    )


def _verdicts(evidence: Evidence) -> dict[str, Verdict]:
    if not evidence.contents.shapes:
        return {"unknown": NotMine("it contains no tensors")}
    return {kind: look(evidence) for kind, look in KINDS.items()}


def _reasons(verdicts: Mapping[str, Verdict], decisive: Verdict | None) -> tuple[Reason, ...]:
    """The reasons of all kinds, the decisive one first."""
    words = {Match: "match", Broken: "broken", NotMine: "no"}
    ordered = sorted(verdicts.items(), key=lambda item: item[1] is not decisive)
    return tuple(Reason(kind, words[type(verdict)], verdict.reason) for kind, verdict in ordered)


def _tree(
    contents: Contents, evidence: Evidence, match: Match | None, alphas: Mapping[str, Json] | None
) -> dict[str, Json]:
    tree: dict[str, Json] = {"format": contents.format}
    notes: list[Json] = []
    if match is not None:
        details = dict(match.details)
        if alphas:
            details["alphas"] = alphas
        tree |= {"variety": match.variety or None, "details": details}
        notes += match.notes
    tree |= {
        "parameters": contents.parameters(),
        "size_bytes": contents.size,
        "tensor_bytes": stored_bytes(contents),
        "dtypes": contents.dtype_counts(),
        "quantisation": evidence.quantisation or None,
        "metadata": shown(contents.metadata),
        "trigger_words": list[Json](trigger_words(contents.metadata)),
        "notes": notes,
        "values": {key: _shown(value) for key, value in islice(contents.values.items(), _MOST_VALUES)},
    }
    if contents.format in PICKLED:
        tree["foreign_globals"] = list[Json](contents.foreign)
    return tree


def _shown(value: Any) -> Json:
    """A value as JSON can hold it: long texts are cut short, infinities and NaN become text."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def _alphas(path: Path, contents: Contents) -> dict[str, Json]:
    """How many modules have each alpha. These few scalars of a LoRA are the only tensors that are read."""
    if contents.header is None:
        return {}
    counts: dict[float, int] = {}
    wanted = [info for name, info in contents.header.tensors.items() if name.endswith(".alpha") and _is_scalar(info)]
    with path.open("rb") as file:
        for info in sorted(wanted[:_MOST_ALPHAS], key=lambda info: info.start):
            file.seek(contents.header.data_start + info.start)
            value = _number(file.read(info.end - info.start), info.dtype)
            if value is not None:
                counts[value] = counts.get(value, 0) + 1
    return {f"{value:g}": counts[value] for value in sorted(counts)}


def _is_scalar(info: TensorInfo) -> bool:
    return info.shape in ((), (1,)) and info.end - info.start <= _LONGEST_SCALAR


def _number(data: bytes, dtype: str) -> float | None:
    if dtype == "BF16":
        data, dtype = b"\0\0" + data, "F32"
    if dtype not in _SCALARS or len(data) != struct.calcsize(_SCALARS[dtype]):
        return None
    return float(struct.unpack(_SCALARS[dtype], data)[0])
