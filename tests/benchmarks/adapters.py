"""What adapters cost between images of the demo model: changing scales, swapping, and keeping one at scale 0.

    OMP_NUM_THREADS=1 PYTHONPATH=tests .venv/bin/python tests/benchmarks/adapters.py

Each figure is processor time, the best of many rounds in which all take turns, since machines are noisy. A LoRA on
every attention and convolution of UNet and text encoder stands for plain LoRA, a LoKr on the same modules for whole
differences. Two trained embeddings stand for textual inversions, the demo's IP-Adapters for their kind.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import torch
from measure import ROOT
from safetensors.torch import save_file
from support import lycoris as kinds
from support.handles import base_model, embedding_model, handle, ip_adapter_model, lora_model
from support.loras import diffusers_file, factors
from support.plain import plain_pipeline

from recipe_runner.plan.resolved import ModelHandle, ResolvedLora
from recipe_runner.runtime.live import LivePipeline

MODEL = ROOT / "recipes/demo/model"
PROMPT = {"prompt": "a large red circle on a white background"}
ENDS = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
ROUNDS = 40
STEPS = 5
KINDS = ("lora", "lokr")


def files(folder: Path) -> Iterator[dict[str, ResolvedLora]]:
    """A LoRA and a LoKr on the same modules, again and again with other values."""
    pipeline = plain_pipeline(MODEL)
    lokr = kinds.lokr("whole", "factors")
    for seed in count():
        made = factors(pipeline, seed, rank=8, ends=ENDS)
        plain, whole = folder / f"lora-{seed}.safetensors", folder / f"lokr-{seed}.safetensors"
        diffusers_file(plain, made)
        tensors: dict[str, torch.Tensor] = {}
        for part, prefix in (("unet", "lora_unet"), ("text_encoder", "lora_te")):
            own = {place.partition(".")[2]: lokr for place in made if place.startswith(f"{part}.")}
            tensors |= kinds.file_of(own, getattr(pipeline, part), seed, size=0.1, prefix=prefix)[0]
        save_file(tensors, whole)
        yield {"lora": lora_model(plain, f"lora_{seed}"), "lokr": lora_model(whole, f"lokr_{seed}")}


@dataclass
class Bench:
    """One live pipeline, and the best seconds of everything that was measured on it."""

    live: LivePipeline
    seconds: dict[str, float] = field(default_factory=dict)

    def measure(self, name: str, before: ModelHandle, action: Callable[[], object]) -> None:
        """Time `action` from the state `before`."""
        self.live.require(before)
        start = time.process_time()
        action()
        seconds = time.process_time() - start
        self.seconds[name] = min(seconds, self.seconds.get(name, seconds))

    def print_ratios(self) -> None:
        """Print the figures."""
        seconds = self.seconds
        step = (seconds["image"] - seconds["one step"]) / (STEPS - 1)
        print(f"a denoising step with guidance: {step * 1000:.1f} ms")
        swap = seconds["token swapped"]
        print(f"textual inversion: a swap {swap * 1000:.3f} ms, {swap / step:.2%} of a step")
        for what in ("rescaled", "swapped"):
            taken = seconds[f"ip-adapter {what}"]
            print(f"IP-Adapter {what}: {taken * 1000:.2f} ms, {taken / step:.1%} of a step")
        print(
            f"an image with it at scale 0 takes {seconds['ip-adapter at 0'] / seconds['image']:.3f} of one without it"
        )
        for kind in KINDS:
            back, new, zero = (seconds[f"{kind} {what}"] for what in ("back", "rescaled", "at 0"))
            swap, load = seconds[f"{kind} swapped"], seconds[f"{kind} loaded"]
            print(f"{kind}: back to a scale {back * 1000:.2f} ms, {back / step:.1%} of a step")
            print(f"{kind}: to a scale not used before {new * 1000:.2f} ms, {new / step:.1%} of a step")
            print(f"{kind}: a swap {swap * 1000:.2f} ms, loading it anew {load * 1000:.1f} ms: 1/{load / swap:.1f}")
            work = seconds[f"{kind} at work"]
            print(f"{kind}: an image with it at work takes {work / seconds['image']:.2f} of one without it")
            print(f"{kind}: an image with it at scale 0 takes {zero / seconds['image']:.3f} of one without it")


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        source = files(Path(name))
        live, base = LivePipeline("cpu", "strict"), base_model(MODEL)
        bench, alone = Bench(live), handle(base)
        conditioning = live.encode(alone, PROMPT)
        first, second = next(source), next(source)
        words = [embedding_model(MODEL.parent / "embeddings" / f"{name}.safetensors") for name in ("teal", "brown")]
        colours = [handle(base, word) for word in words]
        for colour in colours:
            live.require(colour)
        folder = MODEL.parent / "ip_adapter"
        looks = [ip_adapter_model(folder / f"ip-adapter{kind}_shapes.safetensors") for kind in ("", "-plus")]

        def image(wanted: ModelHandle, steps: int = STEPS) -> None:
            live.denoise(wanted, [conditioning], [0], {"num_inference_steps": steps, "guidance_scale": 4.0})

        for number in range(ROUNDS):
            fresh = next(source)
            bench.measure("token swapped", colours[0], partial(live.require, colours[1]))
            bench.measure("one step", alone, partial(image, alone, 1))
            bench.measure("image", alone, partial(image, alone))
            shown = [handle(base, looks[0], look=scale) for scale in (0.3 + number / 1000, 0.6, 0.0)]
            bench.measure("ip-adapter rescaled", shown[0], partial(live.require, shown[1]))
            bench.measure("ip-adapter swapped", shown[0], partial(live.require, handle(base, looks[1])))
            image(shown[2], 1)
            bench.measure("ip-adapter at 0", shown[2], partial(image, shown[2]))
            for kind in KINDS:
                one, other, new = (handle(base, files[kind]) for files in (first, second, fresh))
                scales = [handle(base, first[kind], **{first[kind].name: s}) for s in (0.3 + number / 1000, 0.6, 0.0)]
                bench.measure(f"{kind} rescaled", scales[1], partial(live.require, scales[0]))
                bench.measure(f"{kind} back", scales[0], partial(live.require, scales[1]))
                live.require(other)
                bench.measure(f"{kind} swapped", one, partial(live.require, other))
                bench.measure(f"{kind} loaded", alone, partial(live.require, new))
                # Warm as the image without it is, which comes after another.
                image(scales[2], 1)
                bench.measure(f"{kind} at 0", scales[2], partial(image, scales[2]))
                image(scales[1], 1)
                bench.measure(f"{kind} at work", scales[1], partial(image, scales[1]))
        for kind in KINDS:
            landed = live.tensor_counts(handle(base, first[kind]))[first[kind].name]
            print(f"{kind}: {', '.join(f'{tensors} tensors in the {part}' for part, (tensors, _) in landed.items())}")
        bench.print_ratios()


if __name__ == "__main__":
    main()
