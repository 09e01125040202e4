"""What a configuration says of a model's size, compared with what the header of its weights says.

One table: for each class, which axis of which tensor, or how many numbered modules, a key of its configuration decides.
A key that is not written, and a tensor that is not there, are not compared: the strict loader counts every parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipe_runner.weights.configuration.fault import Fault
from recipe_runner.weights.configuration.limits import shown
from recipe_runner.weights.modules import Shape

Shapes = Mapping[str, Shape]
_PREFIXES = ("", "text_model.", "vision_model.", "model.", "language_model.", "model.language_model.",
             "language_model.model.")  # fmt: skip
"""What names begin with, by the class that the file was saved from."""
_BLOCK = "{}"


@dataclass(frozen=True, slots=True)
class Size:
    """`key` is the size of an axis of a tensor, once it is multiplied by the values of `times`.

    In a tensor's name `{}` stands for the number of a block; a list has one value for each block.
    """

    key: str
    tensor: str
    axis: int
    times: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """`key` is how many numbered modules there are below a prefix; `{}` and lists as in `Size`."""

    key: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Length:
    """`key`, where it is a list, has one element for each numbered module below a prefix."""

    key: str
    prefix: str


Fact = Size | Count | Length


@dataclass(frozen=True, slots=True)
class SizeTable:
    """The facts of a class; `section` is the mapping within the configuration that holds its keys, if there is one."""

    facts: tuple[Fact, ...]
    section: str = ""


_TOKENS = "embeddings.token_embedding.weight"
_CLIP = (
    Size("vocab_size", _TOKENS, 0),
    Size("hidden_size", _TOKENS, 1),
    Size("max_position_embeddings", "embeddings.position_embedding.weight", 0),
    Size("intermediate_size", "encoder.layers.0.mlp.fc1.weight", 0),
    Count("num_hidden_layers", "encoder.layers"),
)
_PATCHES = "embeddings.patch_embedding.weight"
_VISION = (
    Size("hidden_size", _PATCHES, 0),
    Size("num_channels", _PATCHES, 1),
    Size("patch_size", _PATCHES, 2),
    Size("intermediate_size", "encoder.layers.0.mlp.fc1.weight", 0),
    Size("projection_dim", "visual_projection.weight", 0),
    Count("num_hidden_layers", "encoder.layers"),
)
_ATTENTION = "encoder.block.0.layer.0.SelfAttention"
_T5 = (
    Size("vocab_size", "shared.weight", 0),
    Size("d_model", "shared.weight", 1),
    Size("d_ff", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", 0),
    Size("d_ff", "encoder.block.0.layer.1.DenseReluDense.wi.weight", 0),
    Size("num_heads", f"{_ATTENTION}.relative_attention_bias.weight", 1),
    Size("relative_attention_num_buckets", f"{_ATTENTION}.relative_attention_bias.weight", 0),
    Size("d_kv", f"{_ATTENTION}.q.weight", 0, ("num_heads",)),
    Count("num_layers", "encoder.block"),
)
_UNET = (
    Size("in_channels", "conv_in.weight", 1),
    Size("out_channels", "conv_out.weight", 0),
    Size("block_out_channels", "down_blocks.{}.resnets.0.conv1.weight", 0),
    Size("cross_attention_dim", "down_blocks.{}.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1),
    Size("projection_class_embeddings_input_dim", "add_embedding.linear_1.weight", 1),
    Size("time_cond_proj_dim", "time_embedding.cond_proj.weight", 1),
    Count("layers_per_block", "down_blocks.{}.resnets"),
    Count("transformer_layers_per_block", "down_blocks.{}.attentions.0.transformer_blocks"),
    Length("block_out_channels", "down_blocks"),
    Length("layers_per_block", "down_blocks"),
    Length("transformer_layers_per_block", "down_blocks"),
    Length("cross_attention_dim", "down_blocks"),
    Length("down_block_types", "down_blocks"),
    Length("up_block_types", "up_blocks"),
)
_VAE = (
    Size("in_channels", "encoder.conv_in.weight", 1),
    Size("out_channels", "decoder.conv_out.weight", 0),
    Size("latent_channels", "decoder.conv_in.weight", 1),
    Size("block_out_channels", "encoder.down_blocks.{}.resnets.0.conv1.weight", 0),
    Count("layers_per_block", "encoder.down_blocks.{}.resnets"),
    Length("block_out_channels", "encoder.down_blocks"),
    Length("down_block_types", "encoder.down_blocks"),
    Length("up_block_types", "decoder.up_blocks"),
)
_POOLED = "time_text_embed.text_embedder.linear_1.weight"
_JOINT = (
    Size("joint_attention_dim", "context_embedder.weight", 1),
    Size("pooled_projection_dim", _POOLED, 1),
    Count("num_layers", "transformer_blocks"),
)
_SD3 = (
    *_JOINT,
    Size("in_channels", "pos_embed.proj.weight", 1),
    Size("patch_size", "pos_embed.proj.weight", 2),
    Size("caption_projection_dim", "context_embedder.weight", 0),
    Size("num_attention_heads", "pos_embed.proj.weight", 0, ("attention_head_dim",)),
    Size("out_channels", "proj_out.weight", 0, ("patch_size", "patch_size")),
    Size("pos_embed_max_size", "pos_embed.pos_embed", 1, ("pos_embed_max_size",)),
)
_FLUX = (
    *_JOINT,
    Size("in_channels", "x_embedder.weight", 1),
    Size("attention_head_dim", "transformer_blocks.0.attn.norm_q.weight", 0),
    Size("num_attention_heads", "x_embedder.weight", 0, ("attention_head_dim",)),
    Size("out_channels", "proj_out.weight", 0, ("patch_size", "patch_size")),
    Count("num_single_layers", "single_transformer_blocks"),
)
_DECODER = SizeTable(
    (
        Size("vocab_size", "embed_tokens.weight", 0),
        Size("hidden_size", "embed_tokens.weight", 1),
        Size("intermediate_size", "layers.0.mlp.up_proj.weight", 0),
        Count("num_hidden_layers", "layers"),
    ),
    "text_config",
)
"""A language model, and the one in a model that also sees."""

_TABLES: Mapping[str, SizeTable] = {
    "CLIPTextModel": SizeTable(_CLIP, "text_config"),
    "CLIPTextModelWithProjection": SizeTable(
        (*_CLIP, Size("projection_dim", "text_projection.weight", 0)), "text_config"
    ),
    "CLIPVisionModel": SizeTable(_VISION, "vision_config"),
    "CLIPVisionModelWithProjection": SizeTable(_VISION, "vision_config"),
    "SiglipVisionModel": SizeTable(_VISION, "vision_config"),
    "T5EncoderModel": SizeTable(_T5),
    "UMT5EncoderModel": SizeTable(_T5),
    "UNet2DConditionModel": SizeTable(_UNET),
    "AutoencoderKL": SizeTable(_VAE),
    "SD3Transformer2DModel": SizeTable(_SD3),
    "FluxTransformer2DModel": SizeTable(_FLUX),
    "ChromaTransformer2DModel": SizeTable(
        (
            Size("in_channels", "x_embedder.weight", 1),
            Size("joint_attention_dim", "context_embedder.weight", 1),
            Count("num_layers", "transformer_blocks"),
            Count("num_single_layers", "single_transformer_blocks"),
        )
    ),
}


def contradictions(class_name: str, config: Mapping[str, Any], shapes: Shapes) -> Iterator[Fault]:
    """What the configuration of a model of this class says, and the header of its weights does not."""
    table = _TABLES.get(class_name, _DECODER)
    inner = config.get(table.section)
    section = (table.section,) if isinstance(inner, dict) else ()
    values: Mapping[str, Any] = inner if isinstance(inner, dict) else config
    for fact in table.facts:
        if values.get(fact.key) is not None:
            for message in _told(fact, values, shapes):
                yield Fault((*section, fact.key), message)


def header_size(class_name: str, key: str, shapes: Shapes) -> int | None:
    """What the header of a model of this class says that `key` of its configuration is; None where it does not."""
    for fact in _TABLES.get(class_name, _DECODER).facts:
        if isinstance(fact, Size) and fact.key == key:
            return _axis(shapes, fact.tensor, fact.axis)
    return None


def _told(fact: Fact, values: Mapping[str, Any], shapes: Shapes) -> Iterator[str]:
    """A sentence for each place where a fact is not one."""
    stated = values[fact.key]
    if isinstance(fact, Length):
        found = _count(shapes, fact.prefix)
        if found and isinstance(stated, list) and len(stated) != found:
            yield f"{fact.key} has {len(stated)} elements, and the weights have {found} {fact.prefix}"
        return
    where = fact.tensor if isinstance(fact, Size) else fact.prefix
    for number in range(_count(shapes, where.partition(f".{_BLOCK}")[0])) if _BLOCK in where else (0,):
        value = _of_block(stated, number)
        name = where.replace(_BLOCK, str(number))
        if isinstance(fact, Count):
            found, said = _count(shapes, name), f"{name}.*"
        else:
            factor = _product(values, fact.times)
            size = _axis(shapes, name, fact.axis)
            if factor is None or size is None:
                continue
            found, said = size, f"size of axis {fact.axis} of {name}"
            value = value * factor if isinstance(value, int) else value
        if found and value is not None and not _same(value, found):
            yield _sentence(fact, stated, value, found, said)


def _sentence(fact: Size | Count, stated: object, value: object, found: int, said: str) -> str:
    head = f"{fact.key} is {shown(stated)}"
    if isinstance(fact, Count):
        return f"{head}, and the weights have {found} {said}"
    by = f", which makes {shown(value)} with {' and '.join(dict.fromkeys(fact.times))}" if fact.times else ""
    return f"{head}{by}, and the weights have {found} ({said})"


def _same(value: object, found: int) -> bool:
    return not isinstance(value, bool) and value == found


def _of_block(stated: object, number: int) -> object:
    """The value for one block: of a list its element (None past the end, which `Length` tells), else the value."""
    if not isinstance(stated, list):
        return stated
    value = stated[number] if number < len(stated) else None
    # How many layers each attention of a block has; the first is compared.
    return value[0] if isinstance(value, list) and value else value


def _product(values: Mapping[str, Any], times: Sequence[str]) -> int | None:
    product = 1
    for key in times:
        value = values.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        product *= value
    return product


def _axis(shapes: Shapes, tensor: str, axis: int) -> int | None:
    shape = next((shapes[prefix + tensor] for prefix in _PREFIXES if prefix + tensor in shapes), None)
    return shape[axis] if shape is not None and axis < len(shape) else None


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered modules there are below a prefix; 0 where the header has none under this name."""
    for before in _PREFIXES:
        start = f"{before}{prefix}."
        numbers = {name[len(start) :].partition(".")[0] for name in shapes if name.startswith(start)}
        found = sum(number.isdecimal() for number in numbers)
        if found:
            return found
    return 0
