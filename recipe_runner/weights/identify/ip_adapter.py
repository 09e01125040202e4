"""Identify IP-Adapters, with the code that also loads them. InstantX's for Flux is identified but not supported."""

from __future__ import annotations

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import FLUX1
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Broken, Match, NotMine, Verdict
from recipe_runner.weights.ip_adapter import NAMES, OF_INSTANTX, IpAdapterLayout, identify_ip_adapter
from recipe_runner.weights.ip_adapter.variants import FLUX, SD3

_VARIETIES = {
    "base": "base", "plus": "plus", "full": "full face", "faceid": "faceid", "faceid_plus": "faceid plus",
    FLUX: "base", SD3: "plus",
}  # fmt: skip
_MOST_SHOWN = 3


def look(evidence: Evidence) -> Verdict:
    """Whether the file is an IP-Adapter."""
    if evidence.find(r"^(?:image_proj|ip_adapter|ip_adapter_proj_model)\.|ip_adapter_double_stream_") is None:
        return NotMine("no tensor belongs to an image projection or an IP-Adapter (image_proj.…, ip_adapter.…)")
    found = identify_ip_adapter(evidence.shapes)
    if found == OF_INSTANTX:
        return Match(kind="ip_adapter", layout="instantx", family=FLUX1.name, reason=found)
    if isinstance(found, str):
        return Broken("ip_adapter", found)
    if found.faults:
        faults = "; ".join(found.faults[:_MOST_SHOWN])
        if len(found.faults) > _MOST_SHOWN:
            faults += f" and {len(found.faults) - _MOST_SHOWN} more"
        return Broken("ip_adapter", f"{found.name}: {faults}")
    return _match(evidence, found)


def _match(evidence: Evidence, found: IpAdapterLayout) -> Match:
    details: dict[str, Json] = {
        "tokens": found.tokens or None,
        "image_width": found.image_width,
        "face_width": found.face_width,
        "cross_attention_dim": found.cross_width if found.family.name == "unet" else None,
        "attentions": len(found.attentions),
    }
    if found.lora:
        details["bundled_lora_modules"] = len(found.lora)
    notes = []
    if found.variant == "plus" and "face" in evidence.name.lower():
        notes.append("its name suggests Plus Face, which has the same shapes as Plus")
    return Match(
        kind="ip_adapter",
        layout=found.naming,
        family=found.model,
        variety=_VARIETIES[found.variant],
        details=details,
        notes=tuple(notes),
        reason=f"its image projection is that of {NAMES[found.variant]}, with tokens {found.cross_width} wide",
    )
