"""What a weights file is, as text for people and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from recipe_runner.canonical import Json
from recipe_runner.report.escape import one_line
from recipe_runner.weights.identify.identity import Identity

_AUTOV2, _AUTOV3 = 10, 12
_FEW_REASONS = 1
_SHOWN_METADATA = ("ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha",
                   "ss_network_args",
                   "ss_output_name", "ss_sd_model_name", "ss_steps", "ss_resolution", "ss_training_comment",
                   "modelspec.title", "modelspec.architecture", "modelspec.implementation", "modelspec.author",
                   "modelspec.license", "format")  # fmt: skip
_WIDEST = 100
_FEW_NUMBERS = 8


_EMPTY: Mapping[str, Json] = {
    "path": "", "kind": "unknown", "layout": None, "family": None, "variety": None, "broken": None, "tensor_count": 0,
    "format": None, "details": {}, "parameters": 0, "size_bytes": 0, "tensor_bytes": 0, "dtypes": {},
    "quantisation": None, "metadata": {}, "trigger_words": [], "notes": [], "values": {},
}  # fmt: skip
"""What every object has, in this order, also where nothing could be read."""


def hashes_of(identity: Identity) -> dict[str, Json]:
    """sha256 of a file, and the short hashes that model sites know it by; nothing for a folder or a broken file."""
    from recipe_runner.weights.files.digests import autov3, file_sha256  # noqa: PLC0415 - only when they are asked for

    path = Path(identity.path)
    if not path.is_file() or identity.broken:
        return {}
    sha256 = file_sha256(path)
    hashes: dict[str, Json] = {"sha256": sha256, "autov2": sha256[:_AUTOV2]}
    if identity.tree.get("format") == "safetensors":
        hashes["autov3"] = autov3(path)[:_AUTOV3]
    return hashes


def identity_json(identity: Identity, hashes: Mapping[str, Json]) -> dict[str, Json]:
    """An identity as plain data."""
    return {
        **_EMPTY,
        "path": identity.path,
        "kind": identity.kind,
        "layout": identity.layout,
        "family": identity.family,
        "variety": identity.tree.get("variety"),
        "broken": identity.broken or None,
        "tensor_count": identity.tensor_count,
        **{key: value for key, value in identity.tree.items() if key != "variety"},
        "reasons": [
            {"kind": reason.kind, "verdict": reason.verdict, "reason": reason.reason} for reason in identity.reasons
        ],
        **({"hashes": dict(hashes)} if hashes else {}),
    }


def identity_text(identity: Identity, hashes: Mapping[str, Json], *, verbose: bool = False) -> str:
    """An identity for a person; `verbose` adds every kind's reason and all metadata."""
    return "".join(f"{one_line(line)}\n" for line in _lines(identity, hashes, verbose=verbose))


def _lines(identity: Identity, hashes: Mapping[str, Json], *, verbose: bool) -> Iterator[str]:
    yield f"{identity.path}: {_headline(identity)}"
    fault = next((reason for reason in identity.reasons if reason.reason.startswith(identity.broken or "\0")), None)
    if identity.broken:
        yield f"  broken: {fault.reason if fault else identity.broken}"
    tree = identity.tree
    if identity.tensor_count:
        said = [f"{identity.tensor_count}", f"{_count(tree.get('parameters'))} parameters", _dtypes(tree)]
        yield f"  tensors: {', '.join(part for part in said if part)}"
    for name, value in _pairs(tree.get("details")):
        yield from _detail(name, value)
    if words := tree.get("trigger_words"):
        yield f"  trigger words: {_plain(words)}"
    yield from _metadata(tree.get("metadata"), verbose=verbose)
    if foreign := tree.get("foreign_globals"):
        yield f"  WARNING: unpickling it would run {_plain(foreign)}"
    for note in _texts(tree.get("notes")):
        yield f"  note: {note}"
    for name, value in hashes.items():
        yield f"  {name}: {value}"
    told = identity.reasons if verbose or identity.kind == "unknown" else identity.reasons[:_FEW_REASONS]
    for reason in told:
        if reason is fault:
            continue
        yield f"  {'because' if reason.verdict == 'match' else f'{reason.verdict}, {reason.kind}'}: {reason.reason}"


def _detail(name: str, value: Json) -> Iterator[str]:
    if value in (None, {}, []):
        return
    shown = name.replace("_", " ")
    if name in ("ranks", "alphas") and isinstance(value, Mapping) and len(value) > _FEW_NUMBERS:
        numbers = sorted(float(number) for number in value)
        yield f"  {shown}: {len(value)} different ones, from {numbers[0]:g} to {numbers[-1]:g}"
    elif name in ("ranks", "alphas"):
        yield f"  {shown}: {', '.join(f'{number} in {count}' for number, count in _pairs(value))} of the modules"
    elif isinstance(value, Mapping) and any(isinstance(part, Mapping) for part in value.values()):
        yield f"  {shown}"
        yield from (f"    {part}: {_plain(told)}" for part, told in _pairs(value))
    else:
        yield f"  {shown}: {_plain(value)}"


def _pairs(value: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping):
        yield from value.items()


def _metadata(metadata: Json, *, verbose: bool) -> Iterator[str]:
    """What a trainer wrote: all of it when `verbose`, else what people ask for."""
    found = dict(_pairs(metadata))
    for key in found if verbose else _SHOWN_METADATA:
        if key in found:
            yield f"  {key}: {_cut(str(found[key]), verbose=verbose)}"


def _headline(identity: Identity) -> str:
    said = [identity.kind]
    if variety := identity.tree.get("variety"):
        said.append(f"({variety})")
    if identity.family:
        said.append(f"for {identity.family}")
    if identity.layout:
        said.append(f"in the layout of {identity.layout}")
    return " ".join(said)


def _dtypes(tree: Mapping[str, Json]) -> str:
    dtypes = tree.get("dtypes")
    if not isinstance(dtypes, Mapping):
        return ""
    return ", ".join(str(name) if len(dtypes) == 1 else f"{name} {count}" for name, count in dtypes.items())


def _count(value: Json) -> str:
    number = float(value) if isinstance(value, (int, float)) else 0.0
    for unit, size in (("billion", 1e9), ("million", 1e6), ("thousand", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def _plain(value: Json) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _texts(value: Json) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []


def _cut(text: str, *, verbose: bool) -> str:
    flat = " ".join(text.split())
    return flat if verbose or len(flat) <= _WIDEST else f"{flat[:_WIDEST]}…"
