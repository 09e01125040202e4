"""What a textual inversion file is, from the names and shapes of its tensors, and which text encoders it fits.

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

from recipe_runner.problems.problem import Problem, WeightsError
from recipe_runner.recipe.learned_tokens import same_token
from recipe_runner.weights.modules import TEXT_MODEL, Modules, ModuleTable, Shape

BARE = ""
"""The key under which a file's only tensor stands that has no name."""

_A1111 = {"emb_params": "A1111", "string_to_param.*": "A1111", "*": "A1111", BARE: "bare tensor", "0": "bare tensor"}
"""Keys that name no token, and the layout that they belong to; `0` is the only tensor of a list."""

_SDXL = "SDXL (one tensor for each encoder)"
_OUTPUT = re.compile(r"(?:emb_params|clip_[lgh]|t5)_out")
"""What OneTrainer writes of embeddings that take the place of an encoder's output."""
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
_FOREIGN: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (_LORA, "a LoRA"),
        (r"^(?:image_proj|ip_adapter)\b", "an IP-Adapter"),
        (r"\.(?:weight|bias)$", "a network's weights"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The vectors for one text encoder: the tensor `key` of the file, [vectors, width] or [width].

    `component` is the text encoder that the file's own key names; None where it names none and the width tells.
    """

    key: str
    shape: Shape
    component: str | None

    @property
    def count(self) -> int:
        """How many tokens of a prompt it takes."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def width(self) -> int:
        """Length of a vector: the hidden size of the text encoder that it was learned for."""
        return self.shape[-1]


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A textual inversion file: one learned token.

    Attributes:
        layout: in words: `diffusers`, `A1111`, …
        token: the token that the file names; None when it names none, or one that cannot stand in a recipe.
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
    """The embedding that these tensors are, or in words why they are none.

    Args:
        shapes: the file's keys and shapes, in its order; `BARE` is the key of a tensor without a name.
        dtypes: their data types under safetensors' names, where they are known.
        name: the token that a file names outside its tensors (A1111's `name`).
        token: which one is meant of a file of several tokens.
    """
    # A1111 and the first trainers keep the token's former id beside the vectors.
    shapes = {key: shape for key, shape in shapes.items() if not key.startswith("string_to_token.")}
    if reason := _no_vectors(shapes, dtypes or {}):
        return reason
    if all(key in _ENCODERS for key in shapes):
        return _by_encoder(shapes)
    if output := [key for key in shapes if _OUTPUT.fullmatch(key)]:
        return f"{output[0]} is OneTrainer's output embedding, for what the encoder gives, which is not applied"
    if len(shapes) > 1:
        named = all(_TOKEN.fullmatch(key) for key in shapes) and token is not None
        meant = [key for key in shapes if named and same_token(key) == same_token(str(token))]
        if len(meant) != 1:
            return f"it holds {len(shapes)} tensors ({', '.join(list(shapes)[:3])}), and an embedding is one token"
        shapes = {meant[0]: shapes[meant[0]]}
    key, shape = next(iter(shapes.items()))
    layout = _A1111.get(key, "diffusers")
    said = name if key in _A1111 else key
    token = said if said is not None and _TOKEN.fullmatch(said) else None
    return Embedding(layout=layout, token=token, vectors=(Vectors(key=key, shape=shape, component=None),))


def _no_vectors(shapes: Mapping[str, Shape], dtypes: Mapping[str, str]) -> str:
    """Why some tensor is none of a CLIP encoder's vectors, or nothing."""
    if not shapes:
        return "it holds no tensors"
    for pattern, what in _FOREIGN:
        if found := [key for key in shapes if pattern.search(key)]:
            return f"it is {what} ({len(found)} of {len(shapes)} tensors, such as {found[0]})"
    for key, shape in shapes.items():
        dtype = dtypes.get(key, "F32")
        if not dtype.startswith(("F", "BF")):
            return f"{key or 'its tensor'} holds {dtype}, which are no vectors"
        if len(shape) not in (1, 2) or 0 in shape:
            return f"{key or 'its tensor'} has the shape {_written(shape)}, and vectors are [number, width] or [width]"
    return ""


def _by_encoder(shapes: Mapping[str, Shape]) -> Embedding | str:
    taken: dict[str, str] = {}
    for key in shapes:
        if (component := _ENCODERS[key]) in taken:
            return f"{taken[component]} and {key} are for the same encoder"
        taken[component] = key
    vectors = tuple(Vectors(key=key, shape=shape, component=_ENCODERS[key]) for key, shape in shapes.items())
    return Embedding(layout=_SDXL, token=None, vectors=vectors)


def require_embedding(found: Embedding | str, label: str) -> Embedding:
    """The embedding itself.

    Raises:
        WeightsError: E621 the file is none, with what it is.
    """
    if isinstance(found, Embedding):
        return found
    raise _misfit(
        "E621",
        label,
        f"the file is no textual inversion: {found}",
        "use the file of one learned token, or say with `token` which of several",
    )


def token_of(embedding: Embedding, file_name: str, label: str) -> str:
    """The token that the file names inside, which its own name need not be.

    Raises:
        WeightsError: E620 it names none.
    """
    if embedding.token is not None:
        return embedding.token
    message = f"the file ({embedding.layout}) does not name the token that stands for it in prompts"
    if embedding.layout == "diffusers":
        message = f"the file names `{embedding.vectors[0].key}`, and a token of a recipe is one word"
    stem = PurePosixPath(file_name).stem
    usual = f"`token: {stem}`" if _TOKEN.fullmatch(stem) else "`token`"
    raise _misfit("E620", label, message, f"write {usual}, or any other word without spaces, and use it in a prompt")


def token_width(modules: Modules) -> int | None:
    """Width of a CLIP text encoder's table of tokens; None for another encoder (T5, a language model)."""
    return next((modules[name][1] for name in (_TABLE, TEXT_MODEL + _TABLE) if name in modules), None)


def place_embedding(
    embedding: Embedding, modules: ModuleTable, *, target: str | None, label: str
) -> dict[str, Vectors]:
    """Which text encoder each tensor lands in; with `target`, those of other encoders are left out.

    Raises:
        WeightsError: E622 a tensor fits no encoder of the base; E623 an encoder gets nothing, and no `target` says that
            this is meant.
    """
    widths = {part: width for part, table in modules.items() if (width := token_width(table)) is not None}
    if not widths or (target is not None and target not in widths):
        which = f"no CLIP text encoder called {target}" if widths else "no CLIP text encoder"
        hint = f"it has {' and '.join(widths)}" if widths else "learned tokens are vectors of a CLIP encoder's table"
        raise _misfit("E622", label, f"the base has {which}", hint)
    placed: dict[str, Vectors] = {}
    for vectors in embedding.vectors:
        component = vectors.component or target or _by_width(vectors.width, widths)
        if target is not None and component != target:
            continue
        if component is None or widths.get(component) != vectors.width:
            hint = "use the file that was made for this base"
            if len(embedding.vectors) > 1:
                hint += ", or write `target` to use the vectors of one encoder alone"
            raise _misfit("E622", label, _why(vectors, component, widths), hint)
        placed[component] = vectors
    left = [part for part in widths if part not in placed and target in (None, part)]
    if target is not None and left:
        raise _misfit("E622", label, f"the file holds nothing for {target}", "change or remove `target`")
    if left:
        reads = "reads" if len(left) == 1 else "read"
        message = f"the file holds nothing for {' and '.join(left)}, which {reads} prompts too"
        hint = f"use a file for every encoder, or write `target: {next(iter(placed))}` if this is meant"
        raise _misfit("E623", label, message, hint)
    return placed


def _by_width(width: int, widths: Mapping[str, int]) -> str | None:
    return next((part for part, own in widths.items() if own == width), None)


def _why(vectors: Vectors, component: str | None, widths: Mapping[str, int]) -> str:
    made = f" ({_WIDTHS[vectors.width]})" if vectors.width in _WIDTHS else ""
    own = f"{vectors.key or 'the tensor'} has vectors of width {vectors.width}{made}"
    if component is not None and component not in widths:
        return f"{own} for {component}, and the base has no such CLIP encoder"
    parts = [component] if component is not None else list(widths)
    return f"{own}, and {' and '.join(f'{part} has {widths[part]}' for part in parts)}"


def _misfit(code: str, label: str, message: str, hint: str) -> WeightsError:
    return WeightsError(Problem(code=code, message=f"{label}: {message}", hint=hint))


def _written(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "of a single number"
