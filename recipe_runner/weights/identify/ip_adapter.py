"""IP-Adapters: those that are applied, judged by the module that fits them, and those for transformers."""

from __future__ import annotations

from recipe_runner.canonical import Json
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Broken, Match, NotMine, Verdict
from recipe_runner.weights.ip_adapter import NAMES, IpAdapterLayout, identify_ip_adapter

_VARIETIES = {"base": "base", "plus": "plus", "full": "full face", "faceid": "faceid", "faceid_plus": "faceid plus"}
_FAMILIES = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_OTHERS: tuple[tuple[str, str, str | None], ...] = (
    # pattern, layout, family
    (r"ip_adapter_double_stream_[kv]_proj|^ip_adapter_proj_model\.", "xlabs", "flux1"),
    (r"^ip_adapter\.\d+\.to_[kv]_ip\.bias$", "instantx", "flux1"),
    (r"^ip_adapter\.\d+\.norm_(?:q|k|ip|ip_k|ip_q)\.", "instantx", "sd3"),
    (r"^image_proj\.(?:time_embedding|layers\.\d+\.adaLN)", "instantx", "sd3"),
)  # fmt: skip
_MOST_SHOWN = 3


def look(evidence: Evidence) -> Verdict:
    """Whether the file is an IP-Adapter."""
    for pattern, layout, family in _OTHERS:
        if first := evidence.find(pattern):
            return Match(kind="ip_adapter", layout=layout, family=family, reason=f"{first} is an IP-Adapter's")
    if evidence.find(r"^(?:image_proj|ip_adapter)\.") is None:
        return NotMine("no tensor is an image projection's or an IP-Adapter's (image_proj.…, ip_adapter.…)")
    found = identify_ip_adapter(evidence.shapes)
    if isinstance(found, str):
        return Broken("ip_adapter", found)
    if found.faults:
        more = f" and {len(found.faults) - _MOST_SHOWN} more" if len(found.faults) > _MOST_SHOWN else ""
        return Broken("ip_adapter", f"{found.name}: {'; '.join(found.faults[:_MOST_SHOWN])}{more}")
    return _match(evidence, found)


def _match(evidence: Evidence, found: IpAdapterLayout) -> Match:
    details: dict[str, Json] = {
        "tokens": found.tokens or None,
        "image_width": found.image_width,
        "face_width": found.face_width,
        "cross_attention_dim": found.cross_width,
        "attentions": len(found.attentions),
    }
    if found.lora:
        details["bundled_lora_modules"] = len(found.lora)
    notes = []
    if found.variant == "plus" and "face" in evidence.name.lower():
        notes.append("its name says Plus Face, which has the shapes of Plus")
    return Match(
        kind="ip_adapter",
        layout="h94",
        family=_FAMILIES.get(found.cross_width),
        variety=_VARIETIES[found.variant],
        details=details,
        notes=tuple(notes),
        reason=f"its image projection is that of {NAMES[found.variant]}, for text {found.cross_width} wide",
    )
