"""Single-file checkpoints of Stable Diffusion 1, 2 and SDXL: the names of their tensors, and whether one is whole.

Names are those of the original code. Other programs that save such files leave out `text_model.` (the first fine-tunes
and their merges), write SDXL's projection as transformers has it (diffusers' own conversion script), and leave things
beside the parameters. Sources: diffusers `scripts/convert_diffusers_to_original_*.py`, ComfyUI
`comfy/supported_models.py`, A1111 `modules/sd_models.py`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.resources import files

from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.wording import some
from recipe_runner.weights.families.checkpoint_families import FAMILIES, Family
from recipe_runner.weights.modules import TEXT_MODEL, Shape, shape_text

_NOISE = r"(?:log_)?(?:one_minus_)?(?:betas|alphas_cumprod(?:_prev)?|sqrt_\w+|posterior_\w+|logvar|lvlb_weights)"
_TRAINING = (
    r"(?:model_ema|ema|embedding_manager|safety_checker|control_model_ema|optimizer|lr_schedulers?|loops|callbacks)\..+|"
    r"(?:first_stage_model\.)?(?:loss|discriminator)\..+|global_step|epoch|pytorch-lightning_version"
)
_SAMPLING = (
    r"denoiser\.(?:log_)?sigmas|v_pred|ztsnr|edm_(?:mean|std)|edm_vpred\.sigma_(?:max|min)|"
    r"(?:.+\.)?_?(?:dtype|device)_?marker"
)
_TEXT = (
    r"(?:.+\.)?(?:position_ids|logit_scale|attn_mask)|"
    r"(?:(?:cond_stage_model|conditioner\.embedders\.0)\.(?:clip_l\.)?(?:transformer\.|model\.)?)?"
    r"(?:text_projection(?:\.weight)?|(?:vision_model|visual|visual_projection)\..+)|"
    r"(?:cond_stage_model|conditioner\.embedders\.0)\.model\.transformer\.resblocks\.23\..+"
)
_LEFTOVER = re.compile(f"{_NOISE}|{_TRAINING}|{_SAMPLING}|{_TEXT}")

_CLIP_L = r"(?:cond_stage_model|conditioner\.embedders\.0)\.transformer\."
_SHORT = re.compile(rf"({_CLIP_L})(embeddings|encoder|final_layer_norm)\.")
_TRANSPOSED = re.compile(r"(.+\.embedders\.\d\.model\.text_projection)\.weight")
_RANGES = re.compile(r"\{([0-9,-]+)\}")
_CONVOLVED = ".mid.attn_1."
"""The VAE's attention, whose projections are stored as 1x1 convolutions or as matrices."""
_SMALLER = "the file is damaged, or of a smaller architecture (SSD-1B, Vega, …): then set base.config to its own folder"
_OTHER = (
    "the file is of another architecture (then set base.config to its own folder), or foreign weights were merged "
    "into it"
)
_QUANTISED = re.compile(r"scaled_fp8$|\.scale_(?:weight|input)$|\.weight_scale$|\.absmax$|\.quant_")
_WHOLE = "its weights are quantised with separate scales, which is not supported: use the file in half precision"


def is_leftover(key: str) -> bool:
    """Whether a tensor's name shows that it is not a parameter of a pipeline.

    Such are averages, noise tables, training state, markers for samplers, and parts of CLIP that pipelines never read.
    """
    return _LEFTOVER.fullmatch(key) is not None


def standard_name(key: str) -> str:
    """The original code's name of a tensor."""
    # Stable Diffusion 2 in the layout of sgm; SDXL has another encoder there, under other names.
    key = key.replace("conditioner.embedders.0.model.", "cond_stage_model.model.", 1)
    key = _SHORT.sub(rf"\1{TEXT_MODEL}\2.", key, count=1)
    return _TRANSPOSED.sub(r"\1", key)


def is_transposed(key: str) -> bool:
    """Whether a tensor is the transpose of the one under its standard name."""
    return _TRANSPOSED.fullmatch(key) is not None


@cache
def original_tensors(family: str) -> Mapping[str, Shape]:
    """Every tensor of a checkpoint of sd1, sd2 or sdxl that a pipeline reads, and its shape."""
    text = (files("recipe_runner.weights.checkpoint") / "layouts" / f"{family}.json").read_text(encoding="utf-8")
    return expand(json.loads(text))


def expand(short: Mapping[str, list[int]]) -> dict[str, Shape]:
    """The tensors that short names stand for: `blocks.{0-3}.to_q.weight` for four of one shape."""
    expanded: dict[str, Shape] = {}
    for key, sizes in short.items():
        expanded.update(dict.fromkeys(_names(key), tuple(sizes)))
    return expanded


def _names(short: str) -> Iterator[str]:
    """Every name that a short name stands for."""
    parts = _RANGES.split(short)
    texts, ranges = parts[::2], parts[1::2]
    for numbers in itertools.product(*map(_numbers, ranges)):
        yield texts[0] + "".join(map("".join, zip(numbers, texts[1:], strict=True)))


def _numbers(text: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += [str(number) for number in range(int(first), int(last or first) + 1)]
    return found


def require_original(name: str, family: str, shapes: Mapping[str, Shape], left_out: Collection[str]) -> None:
    """Raise unless the file `name` holds every parameter of its family, each in its shape, and nothing else.

    The tensors of the components `left_out`, which the recipe replaces, are not checked.

    Raises:
        WeightsError: E501 missing, E502 foreign, E503 misshaped tensors.
    """
    wanted = original_tensors(family)
    found = _standard_tensors(shapes, wanted)
    if left_out:
        kind = next(each for each in FAMILIES if each.name == family)
        found = _without(left_out, kind, found)
        wanted = _without(left_out, kind, wanted)
    missing = [key for key in wanted if key not in found]
    if missing:
        message = f"{name}: {len(missing)} of {len(wanted)} parameters of {family} are missing: {some(missing)}"
        raise WeightsError.of("E501", message, _SMALLER)
    foreign = [key for key in found if key not in wanted]
    if foreign:
        message = f"{name}: {len(foreign)} of its {len(shapes)} tensors belong to no component: {some(foreign)}"
        raise WeightsError.of("E502", message, _WHOLE if any(map(_QUANTISED.search, foreign)) else _OTHER)
    wrong = _other_shapes(found, wanted)
    if wrong:
        raise WeightsError.of("E503", f"{name}: {len(wrong)} parameters have another shape: {some(wrong)}", _OTHER)


def _standard_tensors(shapes: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> dict[str, Shape]:
    """The tensors of a file by their standard names, without leftovers."""
    # Most files have standard names alone.
    found = {key: shape for key, shape in shapes.items() if key in wanted}
    for key, shape in shapes.items():
        if key not in wanted and not is_leftover(key):
            found[standard_name(key)] = shape
    return found


def _without(left_out: Collection[str], family: Family, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {key: shape for key, shape in shapes.items() if family.component_of(key)[0] not in left_out}


def _other_shapes(found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> list[str]:
    wrong = []
    for key, shape in wanted.items():
        if _flat(key, shape) != _flat(key, found[key]):
            wrong.append(f"{key} ({shape_text(found[key])} instead of {shape_text(shape)})")
    return wrong


def _flat(key: str, shape: Shape) -> Shape:
    return shape[:2] if _CONVOLVED in key else shape
