"""The live pipeline: one base on one device, which moves from its current state to the state of a handle."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from recipe_runner.canonical import Json
from recipe_runner.graph.execute import boundary
from recipe_runner.plan.operations import DECODE, DENOISE, ENCODE_IMAGE, ENCODE_PROMPT, LOAD_BASE
from recipe_runner.plan.resolved import ModelHandle, ResolvedImagePrompt
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.problems.problem import Problem, at
from recipe_runner.runtime.adapters import Adapters
from recipe_runner.runtime.decode import Pixels, decode
from recipe_runner.runtime.denoise import Latents, OnStep, call_size, denoise, is_guided
from recipe_runner.runtime.device.determinism import Level, prepare_cuda, reproducible
from recipe_runner.runtime.device.devices import choose_device
from recipe_runner.runtime.device.environment import describe_environment, quiet
from recipe_runner.runtime.device.rng import global_rng_kept
from recipe_runner.runtime.encode import Conditioning, encode_prompt
from recipe_runner.runtime.family import DENOISER_PARTS, TEXT_PARTS, family_of
from recipe_runner.runtime.ip_adapter.encode import ImageConditioning, encode_image
from recipe_runner.runtime.ip_adapter.faces import FaceFinder
from recipe_runner.runtime.ip_adapter.file import IpAdapterFiles
from recipe_runner.runtime.ip_adapter.image_encoder import ImageEncoders
from recipe_runner.runtime.load.base import LoadedBase, load_base
from recipe_runner.runtime.load.file_guard import require_found

Scope = Literal["text", "denoiser", "all"]
_PARTS = {"text": TEXT_PARTS, "denoiser": DENOISER_PARTS, "all": (*DENOISER_PARTS, *TEXT_PARTS)}


@dataclass(frozen=True)
class Decoded:
    """Images, uint8 [H, W, 3] each, and warnings about them."""

    images: tuple[Pixels, ...]
    warnings: tuple[Problem, ...] = ()


class LivePipeline:
    """A pipeline with one base that moves between adapter states with the fewest changes.

    After any sequence of handles an image has the same bits as from a fresh pipeline. After any failure the pipeline is
    discarded, and the next operation loads it from the files. Not for use by two threads at once.
    """

    def __init__(self, device: str = "auto", level: Level = "strict", threads: int | None = None) -> None:
        """Choose the device; nothing is loaded yet.

        Args:
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            level: reproducibility level.
            threads: CPU threads of torch; None keeps torch's own number.

        Raises:
            OperationFailed: E701 when the device is missing, E702 when CUDA started before level strict was set up.
        """
        prepare_cuda(level)
        self.device = choose_device(device)
        self.level: Level = level
        self.threads = threads
        self._base: LoadedBase | None = None
        self._adapters: Adapters | None = None
        self._encoders = ImageEncoders(self.device)
        self._finder = FaceFinder()
        self._files = IpAdapterFiles()

    def require(self, handle: ModelHandle, scope: Scope = "all") -> Any:
        """The diffusers pipeline with the components of `scope` in the state of `handle`.

        `text` keeps the denoiser's adapters as they are, `denoiser` those of the text encoders. Every adapter's file is
        read and matched in every scope.

        Raises:
            WeightsError: E5xx when the base, E6xx when an adapter cannot be applied whole and exactly.
        """
        with self._operation("loading"):
            return self._reconciled(handle, scope)

    def encode(
        self,
        handle: ModelHandle,
        prompt: Mapping[str, str | None],
        *,
        guided: bool = True,
        clip_skip: int | None = None,
        max_sequence_length: int | None = None,
    ) -> Conditioning:
        """encode_prompt: the embeddings of a prompt (`prompt`, `prompt_2`, `negative_prompt`, …).

        `guided` says whether its images use classifier-free guidance; if not, negative prompts are not encoded.
        """
        with self._operation(ENCODE_PROMPT.name):
            pipeline = self._reconciled(handle, "text")
            return encode_prompt(
                pipeline, prompt, guided=guided, clip_skip=clip_skip, max_sequence_length=max_sequence_length
            )

    def encode_image(self, prompt: ResolvedImagePrompt) -> ImageConditioning:
        """encode_image: the encoded image prompt of an IP-Adapter. It does not depend on the base.

        Raises:
            RecipeRunnerError: E5xx, E64x, E65x, as `runtime.encode_image`.
        """
        with self._operation(ENCODE_IMAGE.name):
            return encode_image(prompt, self._encoders, self._finder)

    def find_faces(self, prompt: ResolvedImagePrompt) -> None:
        """Find the faces in the images of `prompt`, if it needs faces, before any model is loaded for them.

        Raises:
            RecipeRunnerError: E508, E648, E651, E652, as `runtime.faces`.
        """
        if prompt.faces is not None:
            with self._operation(ENCODE_IMAGE.name):
                self._finder.find(require_found(prompt.pictures), prompt.faces.require_found())

    def denoise(
        self,
        handle: ModelHandle,
        conditionings: Sequence[Conditioning],
        seeds: Sequence[int],
        sampling: Mapping[str, Json],
        on_step: OnStep | None = None,
        *,
        images: Sequence[Sequence[ImageConditioning]] = (),
    ) -> Latents:
        """denoise: latents for each conditioning and seed, in one batch (of one image, except at level fast).

        `images` are, for each of them, the image prompts of those IP-Adapters of the handle that are not at scale 0.

        Raises:
            OperationFailed: E703 memory, E705 not finite, E706 an argument the call does not take, E708 unseeded noise.
        """
        if len(seeds) != len(conditionings) or not seeds or (len(seeds) > 1 and self.level != "fast"):
            message = f"BUG: {len(seeds)} seeds for {len(conditionings)} conditionings at level {self.level}"
            raise AssertionError(message)
        with self._operation(DENOISE.name, seed=seeds[0]):
            pipeline = self._reconciled(handle, "denoiser")
            if family_of(pipeline) is None:
                # The call of such a pipeline encodes the prompt too.
                pipeline = self._reconciled(handle, "all")
            size, guided = call_size(pipeline, sampling), is_guided(pipeline, sampling, conditionings)
            shown = images or [()] * len(seeds)
            with self._held_adapters.images.arguments(handle, shown, size, guided=guided) as more:
                return denoise(pipeline, self._held.scheduler, conditionings, seeds, sampling, on_step, more)

    def decode(self, handle: ModelHandle, latents: Latents) -> Decoded:
        """decode: the images of `latents`. The files of the pipeline must not have changed until then.

        Raises:
            WeightsError: E508, when a weights file changed while the image was made.
            OperationFailed: E703 memory, E705 not finite.
        """
        with self._operation(DECODE.name):
            pipeline = self._require_base(handle.base).pipeline
            images, warnings = decode(pipeline, latents)
            self.check_files()
            return Decoded(tuple(images), warnings)

    def check_files(self) -> None:
        """Raise E508 if a file of the base has changed since it was loaded (adapters are copied, not mapped)."""
        if self._base is not None:
            self._base.check_files()

    def tensor_counts(self, handle: ModelHandle) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        """By adapter and component: the applied tensors of the adapter's file, and all that it has for it."""
        with self._operation("loading"):
            self._require_base(handle.base)
            return {adapter.name: self._held_adapters.tensor_counts(adapter) for adapter in handle.adapters}

    def describe(self) -> Mapping[str, Json]:
        """The environment, for a manifest: versions, device, threads, determinism switches."""
        return describe_environment(self.device, self.level, self.threads)

    def close(self) -> None:
        """Discard the pipeline and free its memory."""
        self._encoders.clear()
        self._finder.clear()
        self._files.clear()
        self._drop_base()

    def _drop_base(self) -> None:
        held = self._base is not None
        self._base = None
        self._adapters = None
        if not held:
            return
        # A model may be part of a reference cycle, and its memory is needed now.
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def _held(self) -> LoadedBase:
        if self._base is None:
            message = "BUG: no base is loaded"
            raise AssertionError(message)
        return self._base

    @property
    def _held_adapters(self) -> Adapters:
        if self._adapters is None:
            message = "BUG: no base is loaded"
            raise AssertionError(message)
        return self._adapters

    @contextmanager
    def _operation(self, name: str, seed: int | None = None) -> Iterator[None]:
        try:
            with boundary(name), quiet(), reproducible(self.level, self.threads), self._global_rng(seed):
                yield
        except BaseException:
            # A partly changed state is never used again; KeyboardInterrupt can occur at any line.
            self.close()
            raise

    def _global_rng(self, seed: int | None) -> AbstractContextManager[None]:
        """Treat noise from the global generator: level strict refuses it, the other levels seed it for the image."""
        if self.level == "strict":
            return global_rng_kept(self.device, refuse=seed is not None)
        return global_rng_kept(self.device, seed=seed)

    def _reconciled(self, handle: ModelHandle, scope: Scope) -> Any:
        base = self._require_base(handle.base)
        self._held_adapters.reconcile(handle, _PARTS[scope])
        return base.pipeline

    def _require_base(self, model: ResolvedBase) -> LoadedBase:
        if self._base is not None and self._base.differs_only_in_scheduler(model):
            if self._base.model != model:
                self._base.change_scheduler(model)
            return self._base
        self._drop_base()
        # A prompt is the first to need the base, but errors are those of the base.
        with at(model.origin), boundary(LOAD_BASE.name), quiet():
            self._base = load_base(model, self.device)
        self._adapters = Adapters(self._base.pipeline, allow_pickle=model.allow_pickle, files=self._files)
        return self._base
