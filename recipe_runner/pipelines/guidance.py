"""Whether an image is made with classifier-free guidance: one rule, asked by planning and running alike.

Source: `do_classifier_free_guidance` and `do_true_cfg` of the pipelines in diffusers 0.42.1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from recipe_runner.canonical import Json
from recipe_runner.pipelines.family import PIPELINE_FAMILIES
from recipe_runner.pipelines.table import call_parameters

SCALES = ("guidance_scale", "true_cfg_scale")


def guidance_argument(pipeline: str) -> str:
    """The argument of a pipeline's call that turns guidance on above 1."""
    family = PIPELINE_FAMILIES.get(pipeline)
    return family.guidance if family is not None else SCALES[0]


def is_guided(
    pipeline: str, sampling: Mapping[str, Json], texts: Collection[str], *, is_distilled: bool = False
) -> bool:
    """Whether images of a prompt are guided, and so steer away from its negative prompt.

    Args:
        pipeline: a diffusers pipeline class; of one whose steps are not known, guidance is assumed where any of its
            scales is above 1.
        sampling: arguments of the call; a default of the class counts where one is absent.
        texts: the names of the texts that the prompt has, such as `negative_prompt`.
        is_distilled: the denoiser takes guidance as an input (`time_cond_proj_dim`), and needs no second pass.
    """
    if is_distilled:
        return False
    family = PIPELINE_FAMILIES.get(pipeline)
    if family is None:
        return any(_is_on(sampling.get(name)) for name in SCALES)
    if family.guided_by_negative and "negative_prompt" not in texts:
        return False
    default = call_parameters(pipeline).get(family.guidance)
    return _is_on(sampling.get(family.guidance, default))


def _is_on(scale: Json) -> bool:
    return isinstance(scale, (int, float)) and scale > 1
