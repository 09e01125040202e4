"""What a person's own diffusers script would make: the oracle for pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import torch

from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.load.tensors import align

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.plan.resolved import ModelHandle
    from recipe_runner.runtime.live import LivePipeline

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def plain_pipeline(folder: Path, **settings: Any) -> Any:
    """`DiffusionPipeline.from_pretrained`, without a progress bar, and with unaligned parameters copied.

    On some processors the last bits of plain diffusers' images depend on where in its file a parameter lies.
    """
    with quiet():
        pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **settings)
    align(*(part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def plain_picture(pipeline: Any, prompt: str, seed: int, **arguments: Any) -> Pixels:
    """One picture by the pipeline's own call."""
    generator = torch.Generator().manual_seed(seed)
    with quiet():
        return np.asarray(pipeline(prompt, generator=generator, **arguments).images[0])


def our_picture(
    live: LivePipeline,
    handle: ModelHandle,
    prompt: str | dict[str, str | None],
    seed: int,
    *,
    images: Any = (),
    **sampling: Any,
) -> Pixels:
    """One picture by encode, denoise and decode; `images` are what each IP-Adapter is shown."""
    fields = prompt if isinstance(prompt, dict) else {"prompt": prompt}
    text = {name: sampling[name] for name in ("clip_skip", "max_sequence_length") if name in sampling}
    guided = sampling.get("guidance_scale", 7.5) > 1
    conditioning = live.encode(handle, fields, guided=guided, **text)
    latents = live.denoise(handle, [conditioning], [seed], sampling, images=[images])
    return live.decode(handle, latents).images[0]
