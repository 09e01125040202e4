"""Values of a configuration that no header shows and that leave no image, or another image, without an error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from recipe_runner.weights.configuration.fault import Fault
from recipe_runner.weights.configuration.limits import shown

_FEWEST_TOKENS = 3
"""A tokenizer's two marks, and one token of the prompt."""
_PREDICTIONS = ("epsilon", "v_prediction", "sample", "original_sample", "flow_prediction", "trigflow")


class _Value(NamedTuple):
    """What the value of a key must be, where the key is written and is not null."""

    key: str
    right: Callable[[Any], bool]
    must: str


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_steps(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _reads_a_token(value: Any) -> bool:
    # Tokenizers without a limit state 1e30, as a float in some files.
    return _is_number(value) and value >= _FEWEST_TOKENS


def _is_prediction(value: object) -> bool:
    return value in _PREDICTIONS


def _are_positive(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_positive, value))


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


_VALUES = {
    "config.json": (
        _Value("scaling_factor", _is_positive, "a positive number"),
        _Value("shift_factor", _is_number, "a number"),
        _Value("latents_mean", _are_numbers, "a list of numbers"),
        _Value("latents_std", _are_positive, "a list of positive numbers"),
    ),
    "scheduler_config.json": (
        _Value("num_train_timesteps", _is_steps, "a whole number of at least 1"),
        _Value("prediction_type", _is_prediction, f"one of {', '.join(_PREDICTIONS)}"),
        _Value("shift", _is_positive, "a positive number"),
    ),
    "tokenizer_config.json": (
        _Value("model_max_length", _reads_a_token, f"a number of at least {_FEWEST_TOKENS}: two marks and a token"),
    ),
}


def impossible(name: str, config: Mapping[str, Any]) -> Iterator[Fault]:
    """What of the configuration file called `name` no model can have been made with."""
    for key, right, must in _VALUES.get(name, ()):
        value = config.get(key)
        if value is not None and not right(value):
            yield Fault((key,), f"{key} is {shown(value)}, and must be {must}")
