"""Identify text encoders and image encoders."""

from __future__ import annotations

from recipe_runner.canonical import Json
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Match, NotMine, Verdict

_ANY = r"^(?:[\w.]*\.)?"
_CLIP = r"encoder\.layers\.0\.self_attn\.q_proj\.weight$"
_CLIP_TEXT = {768: ("CLIP ViT-L", None), 1024: ("OpenCLIP ViT-H", "sd2"), 1280: ("OpenCLIP ViT-bigG", None)}
_VISION = {1024: "CLIP ViT-L", 1280: "CLIP ViT-H", 1664: "CLIP ViT-bigG", 768: "CLIP ViT-B"}
_LANGUAGE = {
    1536: "Qwen2 1.5B", 2048: "", 2304: "Gemma 2 2B", 2560: "Qwen3 4B or Gemma 3 4B", 3072: "", 3584: "Qwen2.5-VL 7B",
    4096: "Llama or Mistral 7B or 8B", 5120: "Mistral Small 24B", 3840: "Gemma 3 12B",
}  # fmt: skip
_T5 = {4096: "T5 XXL", 2048: "T5 XL", 1024: "T5 large", 768: "T5 base", 512: "T5 small"}


def look_text(evidence: Evidence) -> Verdict:
    """Whether the file contains only a text encoder."""
    if evidence.prefix or evidence.find(r"^(?:first_stage_model|control_model)\."):
        return NotMine("it contains a denoiser or a VAE")
    images = evidence.find(_ANY + r"(?:vision_model|visual)\.")
    if images and not evidence.find(_ANY + r"(?:text_model|token_embedding|model\.layers\.0\.self_attn)\b"):
        return NotMine("its encoder reads images")
    return _text(evidence) or NotMine("it has no token embeddings with encoder layers")


def _text(evidence: Evidence) -> Match | None:
    table = evidence.shape(r"token_embedding\.weight$")
    if table and evidence.find(_CLIP):
        return _clip(evidence, table, "transformers")
    if table and evidence.find(r"resblocks\.0\.attn\.in_proj_weight$"):
        return _clip(evidence, table, "openclip")
    if evidence.find(_ANY + r"encoder\.block\.0\.layer\.0\.SelfAttention\.q\.(?:weight|qweight)$"):
        return _t5(evidence, evidence.channels(r"shared\.weight$|embed_tokens\.weight$|SelfAttention\.q\.weight$"))
    if evidence.find(r"^enc\.blk\.0\.attn_q\.weight$"):
        return _t5(evidence, evidence.channels(r"^token_embd\.weight$"), "gguf")
    layers = evidence.find(_ANY + r"layers\.0\.self_attn\.q_proj\.(?:weight|qweight)$")
    tokens = evidence.find(_ANY + r"embed_tokens\.weight$")
    if (layers and tokens) or evidence.find(r"^blk\.0\.attn_q\.weight$"):
        return _language(evidence)
    return None


def _clip(evidence: Evidence, table: tuple[int, ...], layout: str) -> Match:
    width = table[1] if len(table) > 1 else 0
    name, family = _CLIP_TEXT.get(width, ("CLIP", None))
    projection = evidence.find(r"text_projection(?:\.weight)?$") is not None
    layers = evidence.count(r"encoder\.layers\.\d+\.self_attn\.q_proj\.weight$|resblocks\.\d+\.attn\.in_proj_weight$")
    details: dict[str, Json] = {
        "hidden_size": width, "layers": layers, "vocabulary": table[0], "projection": projection,
    }  # fmt: skip
    notes = []
    if evidence.find(_ANY + r"(?:vision_model|visual)\."):
        notes.append("it also contains an image encoder")
    return Match(
        kind="text_encoder",
        layout=layout,
        family=family,
        variety=name,
        details=details,
        notes=tuple(notes),
        reason=f"its token embeddings are {width} wide, with {layers} CLIP layers",
    )


def _t5(evidence: Evidence, width: int, layout: str = "transformers") -> Match:
    name = _T5.get(width, "T5")
    multilingual = evidence.shape(r"^(?:shared|encoder\.embed_tokens|token_embd)\.weight$")[:1] > (200_000,)
    if multilingual:
        name = name.replace("T5", "uMT5")
    return Match(
        kind="text_encoder",
        layout=layout,
        variety=_with_quantisation(name, evidence),
        details={"hidden_size": width},
        reason=f"it has T5 encoder blocks, {width} wide",
    )


def _language(evidence: Evidence) -> Match:
    table = evidence.shape(r"(?:embed_tokens|token_embd)\.weight$")
    width = table[1] if len(table) > 1 else 0
    name = _architecture(evidence) or _LANGUAGE.get(width) or "language model"
    return Match(
        kind="text_encoder",
        layout="gguf" if evidence.contents.format == "gguf" else "transformers",
        variety=_with_quantisation(name, evidence),
        details={"hidden_size": width, "vocabulary": sum(table[:1])},
        reason=f"it has language model layers, {width} wide",
    )


def _architecture(evidence: Evidence) -> str:
    """The class or architecture that the configuration or the GGUF file states; empty when neither does."""
    names = evidence.config.get("architectures") or [evidence.contents.values.get("general.architecture", "")]
    if isinstance(names, list) and names and names[0]:
        return str(names[0])
    return ""


def _with_quantisation(name: str, evidence: Evidence) -> str:
    return ", ".join(filter(None, (name, evidence.quantisation)))


def look_image(evidence: Evidence) -> Verdict:
    """Whether the file contains only an image encoder."""
    dino = evidence.find(_ANY + r"encoder\.layer\.0\.attention\.(?:attention\.query|q_proj)\.weight$")
    if dino and evidence.find(r"embeddings\.(?:cls_token|patch_embeddings)"):
        return _image(evidence, "DINOv2", evidence.shapes[dino][0], "transformers")
    vision = evidence.find(_ANY + r"visual\.(?:transformer\.resblocks|blocks)\.0\.")
    if vision is None and evidence.find(r"embeddings\.patch_embedding\.weight$"):
        vision = evidence.find(_CLIP)
    if vision is None:
        return NotMine("it has no layers for the patches of an image")
    if evidence.find(_ANY + r"(?:token_embedding|embed_tokens)\.weight$") or evidence.prefix:
        return NotMine("it contains other models beside an image encoder")
    width = sum(evidence.shape(r"patch_embedding\.weight$|visual\.conv1\.weight$")[:1])
    name = "SigLIP"
    if evidence.find(r"class_embedding$|visual\."):
        name = _VISION.get(width, "CLIP")
    layout = "openclip" if "visual." in vision else "transformers"
    return _image(evidence, name, width, layout)


def _image(evidence: Evidence, name: str, width: int, layout: str) -> Match:
    projection = evidence.shape(r"visual_projection\.weight$")
    details: dict[str, Json] = {"hidden_size": width}
    if projection:
        details["projection_dim"] = projection[0]
    reason = f"it has image encoder layers, {width} wide"
    return Match(kind="image_encoder", layout=layout, variety=name, details=details, reason=reason)
