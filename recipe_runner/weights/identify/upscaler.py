"""Identify upscalers and restorers: networks from image to image, as spandrel and ComfyUI load them."""

from __future__ import annotations

import math

from recipe_runner.canonical import Json
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Match, NotMine, Verdict

_TABLE: tuple[tuple[str, str], ...] = (
    (r"RRDB_trunk\.\d+\.RDB1\.|^body\.\d+\.rdb1\.|sub\.\d+\.RDB1\.", "ESRGAN"),
    (r"^layers\.0\.residual_group\.", "SwinIR or HAT"),
    (r"^layers\.\d+\.blocks\.\d+\.(?:attn\.temperature|ffn\.fc1)", "DAT"),
    (r"^residual_layer\.\d+\.residual_layer\.", "OmniSR"),
    (r"^block_\d\.c\d_r\.", "SPAN"),
    (r"^feats\.\d+\.(?:lk|ea|channe_mixer|refine)", "PLKSR"),
    (r"^stylegan_decoder\.", "GFPGAN"),
    (r"^(?:position_emb|ft_layers\.0\.self_attn)|^fuse_convs_dict\.", "CodeFormer"),
    (r"^encoder_level1\.0\.attn\.temperature$", "Restormer"),
    (r"^unet[12]\.conv1\.conv\.0\.weight$", "Real-CUGAN"),
    (r"^m_head\.0\.weight$", "SCUNet"),
)  # fmt: skip


def look(evidence: Evidence) -> Verdict:
    """Whether the file is an upscaler."""
    for pattern, name in _TABLE:
        first = evidence.find(pattern)
        if first is not None:
            return _match(evidence, name, first)
    if _is_compact(evidence):
        return _match(evidence, "Compact (SRVGGNet)", "body.0.weight")
    return NotMine("it matches no known upscaler (ESRGAN, SwinIR, HAT, DAT, Compact, …)")


def _is_compact(evidence: Evidence) -> bool:
    """Whether it is only a sequence of convolutions and PReLUs: `body.0`, `body.1`, …."""
    first, second = evidence.shapes.get("body.0.weight", ()), evidence.shapes.get("body.1.weight", ())
    if len(first) != 4 or len(second) != 1:  # noqa: PLR2004
        return False
    return all(name.startswith("body.") for name in evidence.shapes)


def _match(evidence: Evidence, name: str, first: str) -> Match:
    reason = f"{first} belongs to {name} blocks"
    details: dict[str, Json] = {}
    scale = _scale(evidence, name)
    if scale:
        reason += f"; it enlarges {scale} times"
        details["scale"] = scale
    return Match(kind="upscaler", layout="original", variety=name, details=details, reason=reason)


def _scale(evidence: Evidence, name: str) -> int | None:
    if name == "ESRGAN":
        return _esrgan_scale(evidence)
    if name.startswith("Compact"):
        number = max(int(key.split(".")[1]) for key in evidence.shapes)
        shape = evidence.shapes.get(f"body.{number}.weight", (0,))
        return math.isqrt(shape[0] // 3)
    return None


def _esrgan_scale(evidence: Evidence) -> int | None:
    entry = evidence.shape(r"^conv_first\.weight$")
    if entry and evidence.find(r"^conv_up2\.|^upconv2\."):
        # Real-ESRGAN folds an image by 1, 2 or 4 into channels, and always enlarges four times.
        fold = math.isqrt(entry[1] // 3) if len(entry) > 1 else 1
        return 4 // max(1, fold)
    last = evidence.find(r"^model\.1[03]?\.weight$|^model\.8\.weight$")
    if last is None:
        return None
    return {"model.10.weight": 4, "model.8.weight": 4, "model.13.weight": 8}.get(last, 2)
