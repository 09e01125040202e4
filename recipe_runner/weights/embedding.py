"""What a textual inversion file is, from the names and shapes of its tensors, and which text encoders it is for.

Layouts: diffusers' (one tensor named after its token), A1111's (`string_to_param` in a pickle, `emb_params` in
safetensors), SDXL's with a tensor for each encoder (`clip_l` and `clip_g`; `text_encoders_0`, `text_encoders_1`), and a
bare tensor. Sources: diffusers `loaders/textual_inversion.py`, A1111's `textual_inversion.py`, Kohya's
`train_textual_inversion.py` and `sdxl_train_textual_inversion.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from recipe_runner.problems.problem import WeightsError
from recipe_runner.recipe.learned_tokens import same_token
from recipe_runner.weights.modules import TEXT_MODEL, Modules, ModuleTable, Shape, shape_text

BARE = ""
"""The key of a file's only tensor when it has no name."""

_A1111 = {"emb_params": "A1111", "string_to_param.*": "A1111", "*": "A1111", BARE: "bare tensor", "0": "bare tensor"}
"""Keys that name no token, and their layout; `0` is the only tensor of a list."""

_SDXL = "SDXL (one tensor for each encoder)"
_OUTPUT = re.compile(r"(?:emb_params|clip_[lgh]|t5)_out")
"""OneTrainer's names of embeddings that replace an encoder's output."""
T5 = "the T5 encoder"
_ENCODERS = {
    "clip_l": "text_encoder", "text_encoders_0": "text_encoder", "text_encoder": "text_encoder",
    "clip_h": "text_encoder",
    "clip_g": "text_encoder_2", "text_encoders_1": "text_encoder_2", "text_encoder_2": "text_encoder_2",
    **dict.fromkeys(("t5", "t5xxl", "text_encoders_2", "text_encoder_3"), T5),
}  # fmt: skip

_TABLE = "embeddings.token_embedding"
_WIDTHS = {768: "SD 1.x (CLIP ViT-L)", 1024: "SD 2.x (OpenCLIP ViT-H)", 1280: "SDXL's second encoder (OpenCLIP ViT-G)"}
_TOKEN = re.compile(r"[^\x00-\x20\x7f]{1,200}")

_LORA = (
    r"lora[._](?:down|up|A|B|linear)\b|lora_(?:unet|te\d?|transformer)_|hada_w[12]|lokr_w[12]|dora_scale|\.diff(?:_b)?$|"
    r"^(?:unet|text_encoder):\d+:"
)
_FOREIGN = (
    (re.compile(_LORA), "a LoRA"),
    (re.compile(r"^(?:image_proj|ip_adapter)\b"), "an IP-Adapter"),
    (re.compile(r"\.(?:weight|bias)$"), "a network's weights"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The vectors for one text encoder: the tensor `key` of the file, [vectors, width] or [width].

    `component` is the text encoder that the key names; None where it names none, and the width decides.
    """

    key: str
    shape: Shape
    component: str | None

    @property
    def count(self) -> int:
        """How many tokens of a prompt the vectors replace."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def width(self) -> int:
        """Length of a vector: the hidden size of the text encoder."""
        return self.shape[-1]


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A textual inversion file: one learned token.

    Attributes:
        layout: `diffusers`, `A1111`, …
        token: the token that the file names; None when it names none, or one that recipes cannot contain.
        vectors: its tensors, in the file's order.
    """

    layout: str
    token: str | None
    vectors: tuple[Vectors, ...]


def identify_embedding(
    shapes: Mapping[str, Shape],
    *,
    dtypes: Mapping[str, str] | None = None,
    name: str | None = None,
    token: str | None = None,
) -> Embedding | str:
    """The embedding that these tensors are, or the reason why they are none.

    Args:
        shapes: the file's keys and shapes, in its order; `BARE` is the key of a tensor without a name.
        dtypes: their data types under safetensors' names, where they are known.
        name: the token that a file names outside its tensors (A1111's `name`).
        token: the token to use from a file of several.
    """
    # A1111 and the first trainers keep the token's former id beside the vectors.
    shapes = {key: shape for key, shape in shapes.items() if not key.startswith("string_to_token.")}
    reason = _not_vectors(shapes, dtypes or {})
    if reason:
        return reason
    if shapes.keys() <= _ENCODERS.keys():
        return _by_encoder(shapes)
    output = next(filter(_OUTPUT.fullmatch, shapes), None)
    if output is not None:
        return f"{output} is OneTrainer's output embedding, which replaces an encoder's output and is not supported"
    key = _key_of(token, shapes)
    if key is None:
        first = ", ".join(list(shapes)[:3])
        return f"it holds {len(shapes)} tensors ({first}), and a textual inversion is one token"
    named = name if key in _A1111 else key
    if named is not None and not _TOKEN.fullmatch(named):
        named = None
    vectors = Vectors(key=key, shape=shapes[key], component=None)
    return Embedding(layout=_A1111.get(key, "diffusers"), token=named, vectors=(vectors,))


def _key_of(token: str | None, shapes: Mapping[str, Shape]) -> str | None:
    """The key of the only tensor, or of the one whose name is `token`; None when there is no such tensor."""
    if len(shapes) == 1:
        return next(iter(shapes))
    if token is None or not all(map(_TOKEN.fullmatch, shapes)):
        return None
    found = [key for key in shapes if same_token(key) == same_token(token)]
    return found[0] if len(found) == 1 else None


def _not_vectors(shapes: Mapping[str, Shape], dtypes: Mapping[str, str]) -> str:
    """Why the tensors are not vectors of a CLIP encoder; empty when they are."""
    if not shapes:
        return "it holds no tensors"
    for pattern, what in _FOREIGN:
        found = list(filter(pattern.search, shapes))
        if found:
            return f"it is {what} ({len(found)} of {len(shapes)} tensors, such as {found[0]})"
    for key, shape in shapes.items():
        dtype = dtypes.get(key, "F32")
        if not dtype.startswith(("F", "BF")):
            return f"{key or 'its tensor'} holds {dtype}, not floating point numbers"
        if len(shape) not in (1, 2) or 0 in shape:
            return f"{key or 'its tensor'} has the shape {shape_text(shape)}, expected [number, width] or [width]"
    return ""


def _by_encoder(shapes: Mapping[str, Shape]) -> Embedding | str:
    found: dict[str, Vectors] = {}
    for key, shape in shapes.items():
        component = _ENCODERS[key]
        if component in found:
            return f"{found[component].key} and {key} are for the same encoder"
        found[component] = Vectors(key=key, shape=shape, component=component)
    return Embedding(layout=_SDXL, token=None, vectors=tuple(found.values()))


def require_embedding(found: Embedding | str, label: str) -> Embedding:
    """The embedding itself.

    Raises:
        WeightsError: E621 the file is not a textual inversion, with what it is.
    """
    if isinstance(found, Embedding):
        return found
    raise WeightsError.of(
        "E621",
        f"{label}: the file is not a textual inversion: {found}",
        "use the file of one learned token, or choose one of several with `token`",
    )


def token_of(embedding: Embedding, file_name: str, label: str) -> str:
    """The token that the file names inside, which may differ from the file's name.

    Raises:
        WeightsError: E620 it names none.
    """
    if embedding.token is not None:
        return embedding.token
    message = f"{label}: the file ({embedding.layout}) does not name the token that stands for it in prompts"
    if embedding.layout == "diffusers":
        message = f"{label}: the file names `{embedding.vectors[0].key}`, and a token of a recipe is one word"
    stem = PurePosixPath(file_name).stem
    usual = f"`token: {stem}`" if _TOKEN.fullmatch(stem) else "`token`"
    raise WeightsError.of("E620", message, f"write {usual}, or any other word without spaces, and use it in a prompt")


def token_width(modules: Modules) -> int | None:
    """Width of a CLIP text encoder's table of tokens; None for another encoder (T5, a language model)."""
    table = modules.get(_TABLE) or modules.get(TEXT_MODEL + _TABLE)
    return None if table is None else table[1]


def place_embedding(
    embedding: Embedding, modules: ModuleTable, *, target: str | None, label: str
) -> dict[str, Vectors]:
    """The vectors for each text encoder; with `target`, vectors for other encoders are left out.

    Raises:
        WeightsError: E622 a tensor fits no encoder of the base; E623 an encoder gets nothing, and no `target` states
            that this is meant.
    """
    widths = _token_widths(modules, target, label)
    placed = _placed(embedding, widths, target, label)
    if target is not None:
        if target not in placed:
            raise WeightsError.of("E622", f"{label}: the file holds nothing for {target}", "change or remove `target`")
        return placed
    left = [part for part in widths if part not in placed]
    if left:
        reads = "reads" if len(left) == 1 else "read"
        message = f"{label}: the file holds nothing for {' and '.join(left)}, which {reads} prompts too"
        hint = f"use a file for every encoder, or write `target: {next(iter(placed))}` if this is meant"
        raise WeightsError.of("E623", message, hint)
    return placed


def _placed(embedding: Embedding, widths: Mapping[str, int], target: str | None, label: str) -> dict[str, Vectors]:
    """The vectors by the encoder that each names, or whose width it has."""
    placed: dict[str, Vectors] = {}
    for vectors in embedding.vectors:
        component = vectors.component or target or _by_width(vectors.width, widths)
        if target is not None and component != target:
            continue
        if component is None or widths.get(component) != vectors.width:
            hint = "use the file that was made for this base"
            if len(embedding.vectors) > 1:
                hint += ", or write `target` to use the vectors of one encoder alone"
            raise WeightsError.of("E622", f"{label}: {_other_width(vectors, component, widths)}", hint)
        placed[component] = vectors
    return placed


def _token_widths(modules: ModuleTable, target: str | None, label: str) -> dict[str, int]:
    """The width of the tokens of each CLIP text encoder of the base, among them `target`."""
    widths: dict[str, int] = {}
    for part, table in modules.items():
        width = token_width(table)
        if width is not None:
            widths[part] = width
    if not widths:
        hint = "learned tokens are vectors in a CLIP encoder's table of tokens"
        raise WeightsError.of("E622", f"{label}: the base has no CLIP text encoder", hint)
    if target is not None and target not in widths:
        message = f"{label}: the base has no CLIP text encoder called {target}"
        raise WeightsError.of("E622", message, f"it has {' and '.join(widths)}")
    return widths


def _by_width(width: int, widths: Mapping[str, int]) -> str | None:
    return next((part for part, own in widths.items() if own == width), None)


def _other_width(vectors: Vectors, component: str | None, widths: Mapping[str, int]) -> str:
    """Why vectors do not fit `component`, or any encoder when it is None."""
    own = f"{vectors.key or 'the tensor'} has vectors of width {vectors.width}"
    if vectors.width in _WIDTHS:
        own += f" ({_WIDTHS[vectors.width]})"
    if component is None:
        return f"{own}, and {' and '.join(f'{part} has {width}' for part, width in widths.items())}"
    if component not in widths:
        return f"{own} for {component}, and the base has no such CLIP encoder"
    return f"{own}, and {component} has {widths[component]}"
