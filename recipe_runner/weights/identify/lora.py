"""LoRA and LyCORIS files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import SD2, SDXL
from recipe_runner.weights.families.denoiser_family import FamilyFound, family_name
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Broken, Match, NotMine, Verdict
from recipe_runner.weights.lora.deltas import Delta, deltas_of, indexed_deltas, layout_of, listed_deltas
from recipe_runner.weights.lora.embeddings import embedding_of
from recipe_runner.weights.lora.family import DENOISERS, family_of_deltas, family_of_indexed
from recipe_runner.weights.lora.indexed import is_indexed
from recipe_runner.weights.lora.roles import ROLES

_LYCORIS: tuple[tuple[str, str], ...] = (
    ("loha", r"\.hada_w[12]_[ab]$"),
    ("lokr", r"\.lokr_w[12]"),
    ("ia3", r"\.on_input$|\.ia3_l$"),
    ("boft", r"\.boft_[RsS]"),
    ("oft", r"\.oft_(?:blocks|diag|r|R|s)\b"),
    ("glora", r"\.a1\.weight$"),
    ("vera", r"\.vera_lambda_"),
    ("full", r"\.diff(?:_b)?$"),
    ("norm", r"\.[wb]_norm$"),
)
_WHOLE = r"^(?:down_blocks|model\.diffusion_model|conv_in)\b.*\.weight$"
_ENOUGH = 0.5
_LINEAR = 2
_SPATIAL = 4
_TUCKER = "locon (tucker)"


def look(evidence: Evidence) -> Verdict:
    """Whether the file is a LoRA or LyCORIS."""
    if is_indexed(evidence.shapes) or listed_deltas(evidence.shapes):
        return _indexed(evidence)
    reason = _not_factors(evidence)
    if reason:
        return NotMine(reason)
    tokens = _tokens(evidence)
    rest = {key: shape for key, shape in evidence.shapes.items() if key not in tokens}
    deltas, others = deltas_of(rest)
    foreign = [key for key in others if not _is_lycoris(key)]
    if len(foreign) > len(rest) * _ENOUGH:
        return NotMine(f"{len(foreign)} of {len(rest)} tensors are not factors, such as {foreign[0]}")
    variety, kind = _variety(evidence, deltas)
    incomplete = _incomplete(deltas)
    if incomplete:
        return Broken(kind, incomplete)
    return _match(deltas, kind, variety, tokens, foreign)


def _not_factors(evidence: Evidence) -> str:
    """Why the names cannot be those of a LoRA or LyCORIS; empty when they can."""
    controlled = evidence.find(r"^(?:lora_controlnet|lllite_|controlnet_)")
    if controlled is not None:
        return f"{controlled} belongs to a ControlNet that is stored as factors"
    if evidence.factor is not None:
        return ""
    if not _lycoris_parts(evidence):
        return "no tensor has the name of a LoRA or LyCORIS factor (lora_down, lora_A, hada_w1_a, lokr_w1)"
    if evidence.find(_WHOLE) and not evidence.find("hada_w|lokr_w|oft_|on_input"):
        return "its tensors are full weights"
    return ""


def _is_lycoris(key: str) -> bool:
    return any(re.search(pattern, key) for _, pattern in _LYCORIS)


def _lycoris_parts(evidence: Evidence) -> list[str]:
    """The varieties of LyCORIS that the file contains."""
    return [name for name, pattern in _LYCORIS if evidence.find(pattern)]


def _tokens(evidence: Evidence) -> list[str]:
    """Keys of learned tokens beside the factors."""
    return [key for key in evidence.shapes if embedding_of(key, evidence.contents.metadata) is not None]


def _match(deltas: Sequence[Delta], kind: str, variety: str, tokens: list[str], foreign: list[str]) -> Match:
    found = family_of_deltas(deltas)
    targets = _targets(deltas, found)
    if found is None:
        family, reason = _family_of_encoders(deltas), "its modules do not identify a family"
    else:
        family, reason = found.family.name, found.reason
    details: dict[str, Json] = {
        "modules": sum(targets.values()),
        "targets": {component: targets[component] for component in sorted(targets)},
        "ranks": _counted([delta.rank for delta in deltas if delta.rank]),
    }
    if tokens:
        details["tokens"] = list[Json](tokens)
    dora = sum("dora_scale" in delta.roles for delta in deltas)
    if dora:
        details["dora_modules"] = dora
    notes = []
    if foreign:
        notes.append(f"{len(foreign)} tensors are not factors, such as {foreign[0]}")
    return Match(
        kind=kind,
        layout=layout_of(list(deltas)),
        family=family,
        variety=variety,
        details=details,
        notes=tuple(notes),
        reason=f"{_modules(len(deltas))} {variety or kind} factors; {reason}",
    )


def _modules(count: int) -> str:
    return "1 module has" if count == 1 else f"{count} modules have"


def _counted(values: Sequence[int]) -> dict[str, Json]:
    """How many modules have each rank, the smallest rank first."""
    return {str(value): values.count(value) for value in sorted(set(values))}


def _variety(evidence: Evidence, deltas: Sequence[Delta]) -> tuple[str, str]:
    """The variety of the factors in LyCORIS's terms, such as `loha + dora`, and the kind of the file."""
    parts, kind = _lycoris_parts(evidence), "lycoris"
    plain = [delta for delta in deltas if "down" in delta.roles or "up" in delta.roles]
    if plain:
        parts, kind = _beside_plain(plain, parts)
    if any("dora_scale" in delta.roles for delta in deltas):
        parts.append("dora")
    if evidence.find(r"motion_modules"):
        parts.append("motion")
    return " + ".join(parts), kind


def _beside_plain(plain: Sequence[Delta], lycoris: list[str]) -> tuple[list[str], str]:
    """The varieties and the kind of a file with plain LoRA factors and these LyCORIS ones."""
    # Biases and norms do not change what the plain factors are called.
    name = _convolutions(plain) if set(lycoris) <= {"full", "norm"} else ""
    if lycoris:
        return [name or "lora", *lycoris], "lycoris"
    kind = "lycoris" if name == _TUCKER else "lora"
    return [name] if name else [], kind


def _convolutions(plain: Sequence[Delta]) -> str:
    """The name of a LoRA that also changes convolutions; empty when it does not."""
    if any("mid" in delta.roles for delta in plain):
        return _TUCKER
    if any(len(delta.made) == _SPATIAL and delta.made[2:] != (1, 1) for delta in plain):
        return "locon"
    return ""


def _incomplete(deltas: Sequence[Delta]) -> str:
    """What is wrong when most modules lack a factor; empty when they do not."""
    wrong = [delta for delta in deltas if delta.kind not in ROLES]
    if not wrong:
        return ""
    if len(wrong) < len(deltas) and len(wrong) <= max(1, len(deltas) * _ENOUGH):
        return ""
    first = wrong[0]
    return f"{len(wrong)} of {len(deltas)} modules lack factors: {next(iter(first.roles.values()))}: {first.kind}"


def _family_of_encoders(deltas: Sequence[Delta]) -> str | None:
    """The family by the width of the text encoders alone; None when that does not identify it."""
    widths: dict[str, int] = {}
    for delta in deltas:
        attention = re.search(r"self_attn[._]?(?:[qkv]_proj|out_proj|to_[qkvo])", delta.claim.name)
        if attention and delta.claim.component is not None and len(delta.made) >= _LINEAR:
            widths[delta.claim.component] = delta.made[1]
    if widths.get("text_encoder_2") == 1280:  # noqa: PLR2004
        return SDXL.name
    if widths.get("text_encoder") == 1024:  # noqa: PLR2004
        return SD2.name
    return None


def _targets(deltas: Sequence[Delta], found: FamilyFound | None) -> dict[str, int]:
    """How many modules each component gets; names without a component belong to the denoiser."""
    denoiser = found.family.component if found is not None else "unet"
    counts: dict[str, int] = {}
    for delta in deltas:
        component = _component(delta) or denoiser
        counts[component] = counts.get(component, 0) + 1
    return counts


def _component(delta: Delta) -> str | None:
    """The component that a module belongs to; None for the denoiser."""
    component = delta.claim.component
    if component is None and re.match(r"(?:text_model\.)?encoder\.(?:layers|block)", delta.claim.name):
        return "text_encoder"
    if component in DENOISERS and component != "transformer_2":
        return None
    return component


def _indexed(evidence: Evidence) -> Match:
    """A file of cloneofsimo's trainer, which numbers its modules."""
    deltas = list(indexed_deltas(evidence.shapes))
    deltas += [("unet", shape, rank) for shape, rank in listed_deltas(evidence.shapes)]
    counts: dict[str, int] = {}
    for component, _, _ in sorted(deltas):
        counts[component] = counts.get(component, 0) + 1
    details: dict[str, Json] = {
        "modules": len(deltas),
        "targets": dict[str, Json](counts),
        "ranks": _counted([rank for _, _, rank in deltas]),
    }
    tokens = _tokens(evidence)
    if tokens:
        details["tokens"] = list[Json](tokens)
    found = family_of_indexed(evidence.shapes)
    reason = f"its {len(deltas)} modules are numbered, as cloneofsimo's trainer writes them"
    if found is not None:
        reason += f"; {found.reason}"
    return Match(kind="lora", layout="cloneofsimo", family=family_name(found), details=details, reason=reason)
