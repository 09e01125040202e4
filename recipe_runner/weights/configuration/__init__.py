"""A model's configuration files: what they may ask for, and whether they say what the weights' headers say."""

from __future__ import annotations

from recipe_runner.weights.configuration.facts import contradictions, header_size
from recipe_runner.weights.configuration.fault import Fault, problems_in
from recipe_runner.weights.configuration.limits import excesses, most_bytes, shown, unfounded
from recipe_runner.weights.configuration.values import impossible

__all__ = [
    "Fault",
    "contradictions",
    "excesses",
    "header_size",
    "impossible",
    "most_bytes",
    "problems_in",
    "shown",
    "unfounded",
]
