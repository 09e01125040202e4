"""Negative prompts that change no image, because guidance is off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recipe_runner.pipelines.family import PIPELINE_FAMILIES
from recipe_runner.pipelines.guidance import NEGATIVE, guidance_argument, scale_of
from recipe_runner.plan.resolved_recipe import ResolvedPrompt, ResolvedRecipe, ResolvedVariant
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem
from recipe_runner.problems.wording import shown


@dataclass(slots=True)
class _Use:
    """In how many variants a negative text is read, and in how many it is not. `reason` and `hint` are of the first."""

    read: int = 0
    ignored: int = 0
    reason: str = ""
    hint: str = ""


def ignored_negative_warnings(recipe: ResolvedRecipe) -> Iterator[Problem]:
    """W755 for each negative prompt that guidance ignores in a variant, where the pipeline's steps are known."""
    uses: dict[tuple[Place, str, str], _Use] = {}
    for variant in recipe.variants:
        if variant.base.pipeline not in PIPELINE_FAMILIES:
            continue
        for prompt in variant.prompts:
            guided = variant.is_guided(prompt)
            for name, place in prompt.negative_origins.items():
                use = uses.setdefault((place, prompt.id, name), _Use())
                if guided or not prompt.texts[name]:
                    use.read += 1
                    continue
                use.ignored += 1
                if not use.reason:
                    use.reason, use.hint = _reason(variant, prompt)
    for (place, prompt_id, name), use in uses.items():
        if use.ignored:
            yield _warning(place, f"prompt {prompt_id}: {name}", use)


def _reason(variant: ResolvedVariant, prompt: ResolvedPrompt) -> tuple[str, str]:
    """Why guidance is off for images of `prompt`, and what turns it on."""
    pipeline = variant.base.pipeline
    family, argument = PIPELINE_FAMILIES[pipeline], guidance_argument(pipeline)
    if variant.base.is_distilled:
        return "the denoiser is distilled and takes guidance as an input", "delete the negative prompt"
    if family.guided_by_negative and NEGATIVE not in prompt.texts:
        return f"{pipeline} uses it only together with `{NEGATIVE}`", f"add `{NEGATIVE}`, or delete it"
    scale = shown(scale_of(pipeline, variant.sampling))
    reason = f"`{argument}` is {scale}, and guidance is on only above 1"
    return reason, f"set `sampling.{argument}` above 1, or delete the negative prompt"


def _warning(place: Place, label: str, use: _Use) -> Problem:
    where = ""
    if use.read:
        where = f" in {use.ignored} of {use.read + use.ignored} variants"
    return Problem.warning(place, "W755", f"{label} has no effect{where}: {use.reason}", use.hint)
