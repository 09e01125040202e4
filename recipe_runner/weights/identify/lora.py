"""LoRA and LyCORIS files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import SD2, SDXL
from recipe_runner.weights.families.denoiser_family import FamilyFound
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


def look(evidence: Evidence) -> Verdict:
    """Whether the file is a LoRA or LyCORIS."""
    if is_indexed(evidence.shapes) or listed_deltas(evidence.shapes):
        return _indexed(evidence)
    if reason := _not_factors(evidence):
        return NotMine(reason)
    tokens = _tokens(evidence)
    rest = {key: shape for key, shape in evidence.shapes.items() if key not in tokens}
    deltas, others = deltas_of(rest)
    foreign = [key for key in others if not any(re.search(pattern, key) for _, pattern in _LYCORIS)]
    if len(foreign) > len(rest) * _ENOUGH:
        return NotMine(f"{len(foreign)} of {len(rest)} tensors are no factors, such as {foreign[0]}")
    variety, kind = _variety(evidence, deltas)
    if broken := _lonely(deltas):
        return Broken(kind, broken)
    return _match(deltas, kind, variety, tokens, foreign)


def _not_factors(evidence: Evidence) -> str:
    """Why the names cannot be those of a LoRA or LyCORIS; empty when they can."""
    if controlled := evidence.find(r"^(?:lora_controlnet|lllite_|controlnet_)"):
        return f"{controlled} is of a ControlNet made of factors"
    if evidence.factor is None:
        if not any(evidence.find(pattern) for _, pattern in _LYCORIS):
            return "no tensor has a name of a LoRA's or LyCORIS's factors (lora_down, lora_A, hada_w1_a, lokr_w1)"
        if evidence.find(_WHOLE) and not evidence.find("hada_w|lokr_w|oft_|on_input"):
            return "its tensors are whole weights"
    return ""


def _tokens(evidence: Evidence) -> list[str]:
    """Keys of learned tokens beside the factors."""
    return [key for key in evidence.shapes if embedding_of(key, evidence.contents.metadata) is not None]


def _match(deltas: Sequence[Delta], kind: str, variety: str, tokens: list[str], foreign: list[str]) -> Match:
    found = family_of_deltas(deltas)
    targets = _targets(deltas, found)
    family = found.family.name if found is not None else _family_of_encoders(deltas)
    notes = []
    if foreign:
        notes.append(f"{len(foreign)} tensors are no factors, such as {foreign[0]}")
    reason = found.reason if found is not None else "no module of it tells a family"
    details: dict[str, Json] = {
        "modules": sum(targets.values()),
        "targets": {component: targets[component] for component in sorted(targets)},
        "ranks": _counted([delta.rank for delta in deltas if delta.rank]),
    }
    if tokens:
        details["tokens"] = list[Json](tokens)
    if dora := sum("dora_scale" in delta.roles for delta in deltas):
        details["dora_modules"] = dora
    return Match(
        kind=kind,
        layout=layout_of(list(deltas)),
        family=family,
        variety=variety,
        details=details,
        notes=tuple(notes),
        reason=f"{_modules(len(deltas))} of a {variety or kind}; {reason}",
    )


def _modules(count: int) -> str:
    return "1 module has factors" if count == 1 else f"{count} modules have factors"


def _counted(values: Sequence[int]) -> dict[str, Json]:
    """How many modules have each rank, the least rank first."""
    return {str(value): values.count(value) for value in sorted(set(values))}


def _variety(evidence: Evidence, deltas: Sequence[Delta]) -> tuple[str, str]:
    """What the factors are, in LyCORIS's words, and the kind of file that makes it."""
    found = [name for name, pattern in _LYCORIS if evidence.find(pattern)]
    plain = [delta for delta in deltas if "down" in delta.roles or "up" in delta.roles]
    if plain and set(found) <= {"full", "norm"}:
        # Biases and norms beside plain factors: still a LoRA to all that load it.
        tucker = any("mid" in delta.roles for delta in plain)
        kernels = any(len(delta.made) == _SPATIAL and delta.made[2:] != (1, 1) for delta in plain)
        name = "locon (tucker)" if tucker else "locon" if kernels else ""
        kind = "lycoris" if tucker or found else "lora"
        parts = [name or "lora", *found] if found else [name] if name else []
    else:
        parts, kind = [*(["lora"] if plain else []), *found], "lycoris"
    if any("dora_scale" in delta.roles for delta in deltas):
        parts.append("dora")
    if evidence.find(r"motion_modules"):
        parts.append("motion")
    return " + ".join(parts), kind


def _lonely(deltas: Sequence[Delta]) -> str:
    """What is wrong when most modules lack a factor: the file is a part of one."""
    wrong = [delta for delta in deltas if delta.kind not in ROLES]
    if len(wrong) > max(1, len(deltas) * _ENOUGH) or (wrong and len(wrong) == len(deltas)):
        first = wrong[0]
        return f"{len(wrong)} of {len(deltas)} modules lack factors: {next(iter(first.roles.values()))}: {first.kind}"
    return ""


def _family_of_encoders(deltas: Sequence[Delta]) -> str | None:
    """The family by the text encoders alone, where their widths tell it."""
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
    """How many modules each component gets; names that say no component are of what denoises."""
    own = found.family.component if found is not None else "unet"
    counts: dict[str, int] = {}
    for delta in deltas:
        component = delta.claim.component
        if component in DENOISERS and component != "transformer_2":
            is_text = component is None and re.match(r"(?:text_model\.)?encoder\.(?:layers|block)", delta.claim.name)
            component = "text_encoder" if is_text else own
        counts[component or own] = counts.get(component or own, 0) + 1
    return counts


def _indexed(evidence: Evidence) -> Match:
    deltas = list(indexed_deltas(evidence.shapes))
    deltas += [("unet", shape, rank) for shape, rank in listed_deltas(evidence.shapes)]
    found = family_of_indexed(evidence.shapes)
    counts: dict[str, Json] = {}
    for component in sorted({component for component, _, _ in deltas}):
        counts[component] = sum(own == component for own, _, _ in deltas)
    tokens = list[Json](_tokens(evidence))
    reason = f"{len(deltas)} modules are numbered as cloneofsimo's trainer does"
    if found is not None:
        reason += f"; {found.reason}"
    return Match(
        kind="lora",
        layout="cloneofsimo",
        family=found.family.name if found is not None else None,
        details={
            "modules": len(deltas),
            "targets": counts,
            "ranks": _counted([rank for _, _, rank in deltas]),
            **({"tokens": tokens} if tokens else {}),
        },
        reason=reason,
    )
