"""The noise scheduler: built from the base's configuration, and copied for every image."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.suggest import did_you_mean
from recipe_runner.runtime.load.classes import scheduler_class


def make_scheduler(base: Any, class_name: str | None, overrides: Mapping[str, Json] | None) -> Any:
    """`Class.from_config(the base's scheduler configuration, **overrides)`; a copy of `base` if nothing is overridden.

    Raises:
        WeightsError: E514 for an unknown class, E510 for a key that is not a parameter of the class (diffusers ignores
            those), E511 for a value that the class refuses.
    """
    overrides = overrides or {}
    if class_name is None and not overrides:
        return copy.deepcopy(base)
    cls = type(base) if class_name is None else scheduler_class(class_name)
    known = list(inspect.signature(cls.__init__).parameters)[1:]
    for key in overrides:
        if key not in known:
            hint = did_you_mean(key, known, "Its parameters are")
            raise WeightsError.of("E510", f"{cls.__name__} has no parameter `{key}`", hint)
    try:
        return cls.from_config(base.config, **overrides)
    except (NotImplementedError, ValueError, TypeError, ImportError, AttributeError) as cause:
        raise WeightsError.of("E511", f"{cls.__name__} cannot be made with this configuration: {cause}") from cause


def fresh_scheduler(pristine: Any, seed: int) -> Any:
    """A copy for one image: schedulers carry state from step to step, and some from one image to the next.

    DPMSolverSDEScheduler takes no generator. Unless the recipe sets a seed for its Brownian noise, the image's seed is
    used, so that its noise follows the seed as with every other scheduler.
    """
    scheduler = copy.deepcopy(pristine)
    if hasattr(scheduler, "noise_sampler_seed") and scheduler.noise_sampler_seed is None:
        scheduler.noise_sampler_seed = seed
    return scheduler
