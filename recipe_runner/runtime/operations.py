"""The operations of the build graph, executed by a live pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from recipe_runner.canonical import Json
from recipe_runner.graph.execute import Operation
from recipe_runner.graph.graph import Node
from recipe_runner.plan.checks.masks import stretched
from recipe_runner.plan.compile import Plan
from recipe_runner.plan.operations import (
    ADDS,
    DECODE,
    DENOISE,
    ENCODE_IMAGE,
    ENCODE_PROMPT,
    LOAD_BASE,
    SAVE,
    SET_SCALES,
)
from recipe_runner.plan.resolved import ModelHandle
from recipe_runner.problems.problem import Problem, at
from recipe_runner.runtime.denoise import Latents
from recipe_runner.runtime.device.determinism import Level
from recipe_runner.runtime.encode import Conditioning
from recipe_runner.runtime.ip_adapter.encode import ImageConditioning
from recipe_runner.runtime.ip_adapter.state import active
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.load.file_guard import require_found

Keep = Callable[[str, NDArray[np.uint8]], None]
"""Takes the node key and the pixels [H, W, 3] of an image to save."""


class Timer:
    """An observer that adds up the seconds of each operation."""

    def __init__(self) -> None:
        """No operation has run."""
        self.seconds: dict[str, float] = {}
        self._started = 0.0

    def started(self, node: Node) -> None:
        """Start the clock."""
        del node
        self._started = time.monotonic()

    def finished(self, node: Node) -> None:
        """Add the seconds since the start."""
        seconds = time.monotonic() - self._started
        self.seconds[node.operation] = self.seconds.get(node.operation, 0.0) + seconds

    def freed(self, node: Node) -> None:
        """Values are freed by the executor."""


class PlanOperations:
    """A live pipeline and the operations that use it, for the nodes of one plan; use it as a context manager."""

    def __init__(
        self, plan: Plan, on_step: Callable[[int, int], None], keep: Keep, reported: Sequence[Problem] = ()
    ) -> None:
        """Choose the device; the first operation that needs weights loads them.

        `keep` gets the key of each node that saves an image, and the image. `reported` are warnings that the user has
        already seen.

        Raises:
            OperationFailed: E701 when the device is missing.
        """
        recipe = plan.recipe
        self._plan = plan
        self._on_step = on_step
        self._keep = keep
        self._live = LivePipeline(recipe.device, cast("Level", recipe.reproducibility), recipe.threads)
        self._reported = {(problem.code, problem.message) for problem in reported}
        self._warnings: dict[str, None] = {}
        self.timer = Timer()
        self.environment: Mapping[str, Json] = self._live.describe()
        self.operations: Mapping[str, Operation] = {
            LOAD_BASE.name: self._load_base,
            **{operation.name: self._add_adapter for operation in ADDS.values()},
            SET_SCALES.name: self._set_scales,
            ENCODE_PROMPT.name: self._encode_prompt,
            ENCODE_IMAGE.name: self._encode_image,
            DENOISE.name: self._denoise,
            DECODE.name: self._decode,
            SAVE.name: self._save,
        }

    def __enter__(self) -> Self:
        """The operations themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pipeline."""
        self._live.close()

    @property
    def warnings(self) -> list[str]:
        """The warnings of the operations, each once, in the order of their first occurrence."""
        return list(self._warnings)

    def find_faces(self, nodes: Iterable[Node]) -> None:
        """Find the faces of every image prompt among `nodes`, so that an image without a face fails before loading.

        Raises:
            RecipeRunnerError: as `LivePipeline.find_faces`, at the image's place in the recipe.
        """
        for node in nodes:
            shown = self._plan.image_prompts.get(node.key)
            if shown is not None:
                with at(node.origin):
                    self._live.find_faces(shown)

    def _load_base(self, node: Node, inputs: Mapping[str, Any]) -> ModelHandle:
        del inputs
        return ModelHandle(base=self._plan.bases[node.key])

    def _add_adapter(self, node: Node, inputs: Mapping[str, Any]) -> ModelHandle:
        model: ModelHandle = inputs["model"]
        return replace(model, adapters=(*model.adapters, self._plan.adapters[node.key]))

    def _set_scales(self, node: Node, inputs: Mapping[str, Any]) -> ModelHandle:
        model: ModelHandle = inputs["model"]
        scales = cast("list[Json]", node.constants["scales"])
        scaled = []
        for adapter, scale in zip(model.adapters, scales, strict=True):
            scaled.append(replace(adapter, scale=scale))
        return replace(model, adapters=tuple(scaled))

    def _encode_prompt(self, node: Node, inputs: Mapping[str, Any]) -> Conditioning:
        constants = node.constants
        conditioning = self._live.encode(
            inputs["model"],
            cast("Mapping[str, str | None]", constants["texts"]),
            guided=bool(constants["guided"]),
            clip_skip=cast("int | None", constants.get("clip_skip")),
            max_sequence_length=cast("int | None", constants.get("max_sequence_length")),
        )
        self._warn(node, conditioning.warnings)
        return conditioning

    def _encode_image(self, node: Node, inputs: Mapping[str, Any]) -> ImageConditioning:
        del inputs
        return self._live.encode_image(self._plan.image_prompts[node.key])

    def _denoise(self, node: Node, inputs: Mapping[str, Any]) -> Any:
        seeds = cast("list[int]", node.constants["seeds"])
        sampling = cast("Mapping[str, Json]", node.constants["sampling"])
        conditionings, images = [], []
        for number in range(len(seeds)):
            conditionings.append(inputs[f"conditioning.{number}"])
            images.append(_images(inputs, number))
        model: ModelHandle = inputs["model"]
        latents = self._live.denoise(model, conditionings, seeds, sampling, self._on_step, images=images)
        for adapter in active(model):
            masks = require_found(adapter.masks)
            self._warn(node, stretched(adapter.name, masks, latents.width, latents.height))
        return latents

    def _decode(self, node: Node, inputs: Mapping[str, Any]) -> NDArray[np.uint8]:
        # One at a time also from a batch: decoding a whole batch gives other bits than decoding its members.
        index = cast("int", node.constants["index"])
        latents: Latents = inputs["latents"]
        decoded = self._live.decode(inputs["model"], replace(latents, value=latents.value[index : index + 1]))
        self._warn(node, decoded.warnings)
        return decoded.images[0]

    def _save(self, node: Node, inputs: Mapping[str, Any]) -> None:
        self._keep(node.key, inputs["picture"])

    def _warn(self, node: Node, problems: tuple[Problem, ...]) -> None:
        for problem in problems:
            if (problem.code, problem.message) not in self._reported:
                warning = problem.moved_to(node.origin).one_line()
                self._warnings[warning] = None


def _images(inputs: Mapping[str, Any], member: int) -> list[ImageConditioning]:
    """The encoded image prompt of each IP-Adapter for a member of a batch, in the adapters' order."""
    prefix = f"image.{member}."
    return [value for name, value in inputs.items() if name.startswith(prefix)]
