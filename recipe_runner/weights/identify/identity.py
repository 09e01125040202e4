"""What a file or folder is, as one value, and how it is come by."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.contents import Contents, read_contents, stored_bytes
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.kinds import KINDS
from recipe_runner.weights.identify.metadata import cut, shown, trigger_words
from recipe_runner.weights.identify.verdict import Broken, Match, NotMine

_SCALARS = {"F16": "<e", "F32": "<f", "F64": "<d", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B"}
_MOST_ALPHAS = 20_000


@dataclass(frozen=True, slots=True)
class Reason:
    """What one kind said of the file: `match`, `no` or `broken`, and why."""

    kind: str
    verdict: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a weights file or folder is.

    Attributes:
        path: as it was given.
        kind: `unknown` when no kind wants it, or when it is broken.
        layout: whose way of naming tensors it is; None where that is not known or there is but one.
        family: the model family; None where shapes do not tell it.
        broken: why the file cannot be used; empty when it can.
        reasons: what every kind said, the decisive one first.
        tree: all else, as plain data: format, variety, parameters, dtypes, details, metadata, trigger words.
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
    """What the weights file at `path` is. `config` is its component's config.json, where it has one."""
    try:
        contents = read_contents(path)
    except WeightsError as error:
        said = error.problems[0]
        message = said.message.removeprefix(f"{path}: ")
        reason = Reason("unknown", "broken", message + (f" ({said.hint})" if said.hint else ""))
        return Identity(path=str(path), kind="unknown", broken=message, reasons=(reason,))
    return identify_contents(str(path), contents, config, alphas=_alphas(path, contents))


def identify_contents(
    path: str, contents: Contents, config: Mapping[str, Any] | None = None, alphas: Mapping[str, Json] | None = None
) -> Identity:
    """What these tensors are. `alphas` counts the values of their alpha tensors."""
    evidence = Evidence(contents, config or {}, Path(path).name)
    verdicts = {kind: look(evidence) for kind, look in KINDS.items()} if contents.shapes else {}
    broken = next((verdict for verdict in verdicts.values() if isinstance(verdict, Broken)), None)
    match = next((verdict for verdict in verdicts.values() if isinstance(verdict, Match)), None)
    if not contents.shapes:
        empty = NotMine("it holds no tensors")
        verdicts, broken = {"unknown": empty}, None
    decisive = match or broken
    reasons = [
        Reason(kind, "match" if isinstance(v, Match) else "broken" if isinstance(v, Broken) else "no", v.reason)
        for kind, v in sorted(verdicts.items(), key=lambda item: item[1] is not decisive)
    ]
    if match is None:
        return Identity(
            path=path,
            kind="unknown" if broken is None else broken.kind,
            tensor_count=len(contents.shapes),
            broken=broken.reason if broken else "",
            reasons=tuple(reasons),
            tree=_tree(contents, evidence, None, alphas),
        )
    return Identity(
        path=path,
        kind=match.kind,
        layout=match.layout or None,
        family=match.family,
        tensor_count=len(contents.shapes),
        reasons=tuple(reasons),
        tree=_tree(contents, evidence, match, alphas),
    )


def _tree(
    contents: Contents, evidence: Evidence, match: Match | None, alphas: Mapping[str, Json] | None
) -> dict[str, Json]:
    tree: dict[str, Json] = {"format": contents.format}
    if match is not None:
        details = {**match.details, **({"alphas": alphas} if alphas else {})}
        tree |= {"variety": match.variety or None, "details": details}
    tree |= {
        "parameters": contents.parameters(),
        "size_bytes": contents.size,
        "tensor_bytes": stored_bytes(contents),
        "dtypes": contents.dtype_counts(),
        "quantisation": evidence.quantisation or None,
        "metadata": shown(contents.metadata),
        "trigger_words": list[Json](trigger_words(contents.metadata)),
        "notes": list[Json](match.notes if match else ()),
    }
    tree["values"] = {key: _shown(value) for key, value in list(contents.values.items())[:_MOST_VALUES]}
    if contents.format in ("torch_zip", "pickle"):
        tree["foreign_globals"] = list[Json](contents.foreign)
    return tree


_MOST_VALUES = 40


def _shown(value: Any) -> Json:
    """A value as JSON can hold it: long texts cut short, numbers that are not finite in words."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _alphas(path: Path, contents: Contents) -> dict[str, Json]:
    """How many modules have each alpha: the few scalars of a LoRA, the only tensors that are ever read."""
    if contents.header is None:
        return {}
    counts: dict[float, int] = {}
    wanted = [
        info
        for name, info in contents.header.tensors.items()
        if name.endswith(".alpha") and info.end - info.start <= 8 and info.shape in ((), (1,))  # noqa: PLR2004
    ]
    with path.open("rb") as file:
        for info in sorted(wanted[:_MOST_ALPHAS], key=lambda info: info.start):
            file.seek(contents.header.data_start + info.start)
            value = _number(file.read(info.end - info.start), info.dtype)
            if value is not None:
                counts[value] = counts.get(value, 0) + 1
    return {f"{value:g}": counts[value] for value in sorted(counts)}


def _number(data: bytes, dtype: str) -> float | None:
    if dtype == "BF16":
        data, dtype = b"\0\0" + data, "F32"
    if dtype not in _SCALARS or len(data) != struct.calcsize(_SCALARS[dtype]):
        return None
    return float(struct.unpack(_SCALARS[dtype], data)[0])
