"""Upscalers and restorers: networks from picture to picture, as spandrel and ComfyUI load them."""

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
    return NotMine("it has the blocks of no upscaler known here (ESRGAN, SwinIR, HAT, DAT, Compact, …)")


def _is_compact(evidence: Evidence) -> bool:
    """A row of convolutions and PReLUs, `body.0`, `body.1`, …, and nothing else."""
    first, second = evidence.shapes.get("body.0.weight", ()), evidence.shapes.get("body.1.weight", ())
    return len(first) == 4 and len(second) == 1 and all(name.startswith("body.") for name in evidence.shapes)  # noqa: PLR2004


def _match(evidence: Evidence, name: str, first: str) -> Match:
    scale = _scale(evidence, name)
    details: dict[str, Json] = {"scale": scale} if scale else {}
    reason = f"{first} is of {name}'s blocks" + (f"; it enlarges {scale} times" if scale else "")
    return Match(kind="upscaler", layout="original", variety=name, details=details, reason=reason)


def _scale(evidence: Evidence, name: str) -> int | None:
    if name == "ESRGAN":
        if (entry := evidence.shape(r"^conv_first\.weight$")) and evidence.find(r"^conv_up2\.|^upconv2\."):
            # Real-ESRGAN takes a picture folded by 2 or 4 into channels, and always enlarges it four times.
            fold = math.isqrt(entry[1] // 3) if len(entry) > 1 else 1
            return 4 // max(1, fold)
        if last := evidence.find(r"^model\.1[03]?\.weight$|^model\.8\.weight$"):
            return {"model.10.weight": 4, "model.8.weight": 4, "model.13.weight": 8}.get(last, 2)
        return None
    if name.startswith("Compact"):
        number = max(int(key.split(".")[1]) for key in evidence.shapes)
        shape = evidence.shapes.get(f"body.{number}.weight", (0,))
        return math.isqrt(shape[0] // 3) if shape[0] else None
    return None
