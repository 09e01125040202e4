"""The identity of a weights file, as text for people and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from recipe_runner.canonical import Json
from recipe_runner.report.text import amounts, text_of
from recipe_runner.weights.identify.identity import Identity, Reason

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
"""The keys of every object, in this order, even if nothing could be read."""


def hashes_of(identity: Identity) -> dict[str, Json]:
    """The sha256 of a file, and the short hashes that model sites use; empty for a folder or a broken file."""
    from recipe_runner.weights.files.digests import autov3, file_sha256  # noqa: PLC0415 - only on request

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
    tree = {
        **_EMPTY,
        "path": identity.path,
        "kind": identity.kind,
        "layout": identity.layout,
        "family": identity.family,
        "variety": None,
        "broken": identity.broken or None,
        "tensor_count": identity.tensor_count,
        **identity.tree,
        "reasons": list(map(asdict, identity.reasons)),
    }
    if hashes:
        tree["hashes"] = dict(hashes)
    return tree


def identity_text(identity: Identity, hashes: Mapping[str, Json], *, verbose: bool = False) -> str:
    """An identity for a person; `verbose` adds the reason of every kind and all metadata."""
    return text_of(_lines(identity, hashes, verbose=verbose))


def _lines(identity: Identity, hashes: Mapping[str, Json], *, verbose: bool) -> Iterator[str]:
    yield f"{identity.path}: {_headline(identity)}"
    fault = _fault(identity)
    if identity.broken:
        yield f"  broken: {fault.reason if fault else identity.broken}"
    yield from _contents(identity, verbose=verbose)
    for name, digest in hashes.items():
        yield f"  {name}: {digest}"
    reasons = identity.reasons
    if identity.kind != "unknown" and not verbose:
        reasons = reasons[:_FEW_REASONS]
    for reason in reasons:
        if reason is not fault:
            yield f"  {_reason_text(reason)}"


def _contents(identity: Identity, *, verbose: bool) -> Iterator[str]:
    tree = identity.tree
    if identity.tensor_count:
        counts = [f"{identity.tensor_count}", f"{_count(tree.get('parameters'))} parameters", _dtypes(tree)]
        yield f"  tensors: {', '.join(filter(None, counts))}"
    for name, value in _pairs(tree.get("details")):
        yield from _detail(name, value)
    if tree.get("trigger_words"):
        yield f"  trigger words: {_plain(tree['trigger_words'])}"
    yield from _metadata(tree.get("metadata"), verbose=verbose)
    if tree.get("foreign_globals"):
        yield f"  WARNING: unpickling this file would run {_plain(tree['foreign_globals'])}"
    for note in _texts(tree.get("notes")):
        yield f"  note: {note}"


def _fault(identity: Identity) -> Reason | None:
    """The reason that says why a file is broken."""
    if not identity.broken:
        return None
    return next((reason for reason in identity.reasons if reason.reason.startswith(identity.broken)), None)


def _reason_text(reason: Reason) -> str:
    if reason.verdict == "match":
        return f"because: {reason.reason}"
    return f"{reason.verdict}, {reason.kind}: {reason.reason}"


def _detail(name: str, value: Json) -> Iterator[str]:
    if value in (None, {}, []):
        return
    title = name.replace("_", " ")
    if name in ("ranks", "alphas"):
        yield f"  {title}: {_numbers(value)}"
    elif isinstance(value, Mapping) and any(isinstance(part, Mapping) for part in value.values()):
        yield f"  {title}"
        for part, parts in value.items():
            yield f"    {part}: {_plain(parts)}"
    else:
        yield f"  {title}: {_plain(value)}"


def _numbers(value: Json) -> str:
    """How many modules have which rank or alpha."""
    counts = dict(_pairs(value))
    if len(counts) > _FEW_NUMBERS:
        numbers = list(map(float, counts))
        return f"{len(counts)} different ones, from {min(numbers):g} to {max(numbers):g}"
    parts = [f"{number} in {count}" for number, count in counts.items()]
    return f"{', '.join(parts)} of the modules"


def _pairs(value: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping):
        yield from value.items()


def _metadata(metadata: Json, *, verbose: bool) -> Iterator[str]:
    """The metadata of the trainer: all of it if `verbose`, else the best known keys."""
    found = dict(_pairs(metadata))
    for key in found if verbose else _SHOWN_METADATA:
        if key in found:
            text = " ".join(str(found[key]).split())
            if len(text) > _WIDEST and not verbose:
                text = f"{text[:_WIDEST]}…"
            yield f"  {key}: {text}"


def _headline(identity: Identity) -> str:
    parts = [identity.kind]
    variety = identity.tree.get("variety")
    if variety:
        parts.append(f"({variety})")
    if identity.family:
        parts.append(f"for {identity.family}")
    if identity.layout:
        parts.append(f"in the layout of {identity.layout}")
    return " ".join(parts)


def _dtypes(tree: Mapping[str, Json]) -> str:
    dtypes = dict(_pairs(tree.get("dtypes")))
    if len(dtypes) == 1:
        return next(iter(dtypes))
    return amounts(dtypes)


def _count(value: Json) -> str:
    number = float(value) if isinstance(value, (int, float)) else 0.0
    for unit, size in (("billion", 1e9), ("million", 1e6), ("thousand", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def _plain(value: Json) -> str:
    if isinstance(value, Mapping):
        return amounts({name.replace("_", " "): _plain(item) for name, item in value.items()})
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _texts(value: Json) -> list[str]:
    return list(map(str, value)) if isinstance(value, (list, tuple)) else []
