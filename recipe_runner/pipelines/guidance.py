"""Whether an image is made with classifier-free guidance: the one rule for planning and running.

Source: `do_classifier_free_guidance` and `do_true_cfg` of the pipelines in diffusers 0.42.1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import PIPELINE_FAMILIES
from recipe_runner.pipelines.table import call_parameters

SCALES = ("guidance_scale", "true_cfg_scale")
NEGATIVE = "negative_prompt"
"""What the names of all negative texts start with: `negative_prompt`, `negative_prompt_2`, …"""


def guidance_argument(pipeline: str) -> str:
    """The argument of a pipeline's call that turns guidance on if it is above 1."""
    family = PIPELINE_FAMILIES.get(pipeline)
    if family is None:
        return SCALES[0]
    return family.guidance


def scale_of(pipeline: str, sampling: Mapping[str, Json]) -> Json:
    """The value of the argument that turns guidance on: that of `sampling`, or else the default of the class."""
    name = guidance_argument(pipeline)
    if name not in sampling:
        return _default(pipeline, name)
    return sampling[name]


@cache
def _default(pipeline: str, name: str) -> Json:
    return call_parameters(pipeline).get(name)


def is_guided(
    pipeline: str, sampling: Mapping[str, Json], texts: Collection[str], *, is_distilled: bool = False
) -> bool:
    """Whether images of a prompt use classifier-free guidance, and so its negative prompt.

    Args:
        pipeline: a diffusers pipeline class. For a class whose steps are not known, images are guided if any of the
            scales is above 1.
        sampling: arguments of the call; the defaults of the class are used for absent ones.
        texts: the names of the prompt's texts, such as `negative_prompt`.
        is_distilled: whether the denoiser takes guidance as an input (`time_cond_proj_dim`) and needs no second pass.
    """
    if is_distilled:
        return False
    family = PIPELINE_FAMILIES.get(pipeline)
    if family is None:
        return any(_is_on(sampling.get(name)) for name in SCALES)
    if family.guided_by_negative and NEGATIVE not in texts:
        return False
    return _is_on(scale_of(pipeline, sampling))


def read_texts(pipeline: str, texts: Mapping[str, str], *, guided: bool) -> Mapping[str, str]:
    """The texts of a prompt that its images depend on, which are without the negative ones if it is not guided.

    A pipeline whose steps are not known may read any of them.
    """
    if guided or pipeline not in PIPELINE_FAMILIES:
        return texts
    return {name: text for name, text in texts.items() if not name.startswith(NEGATIVE)}


def _is_on(scale: Json) -> bool:
    return isinstance(scale, (int, float)) and scale > 1
