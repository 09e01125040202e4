"""The noise scheduler: built from the base's configuration, and a fresh one for every image."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.load.classes import scheduler_class


def make_scheduler(base: Any, class_name: str | None, overrides: Mapping[str, Json] | None) -> Any:
    """`Class.from_config(the base's scheduler configuration, **overrides)`; the base's own where nothing is asked.

    Raises:
        WeightsError: E514 for an unknown class, E510 for a key that is no parameter of the class (diffusers ignores
            those), E511 for a value that the class refuses.
    """
    if class_name is None and not overrides:
        return copy.deepcopy(base)
    cls = type(base) if class_name is None else scheduler_class(class_name)
    known = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    for key in overrides or {}:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its parameters are {', '.join(known)}"
            raise WeightsError.of("E510", f"{cls.__name__} has no parameter `{key}`", hint)
    try:
        return cls.from_config(base.config, **(overrides or {}))
    except (NotImplementedError, ValueError, TypeError, ImportError, AttributeError) as cause:
        raise WeightsError.of("E511", f"{cls.__name__} cannot be made with this configuration: {cause}") from cause


def fresh_scheduler(pristine: Any, seed: int) -> Any:
    """A copy for one image: schedulers carry state from step to step, and some from one image to the next.

    DPMSolverSDEScheduler takes no generator; the seed of its Brownian noise is set to the image's, unless the recipe
    set one, so that its noise follows the seed as that of every other scheduler does.
    """
    scheduler = copy.deepcopy(pristine)
    if hasattr(scheduler, "noise_sampler_seed") and scheduler.noise_sampler_seed is None:
        scheduler.noise_sampler_seed = seed
    return scheduler
