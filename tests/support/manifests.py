"""A manifest to test with, every field filled."""

from __future__ import annotations

from support.records import PLAN, sha256

from recipe_runner.recipe.types.fields import FileRecord
from recipe_runner.record.environment import Environment
from recipe_runner.record.inputs import AdapterRecord, ComponentMatch, SourceRecord
from recipe_runner.record.manifest import Git, ImageRecord, Manifest

ENVIRONMENT = Environment(
    versions={"diffusers": "0.42.1", "python": "3.11.7", "torch": "2.13.0+cpu"},
    device="cpu AVX2",
    reproducibility="strict",
    determinism={"attention_backend": "native", "threads": 2, "tf32": False, "eta": 0.5, "note": None},
)
SCALES = (0.0, 0.5)


def image(prompt: str, seed: int, scale: float, environment: Environment | None = None) -> ImageRecord:
    """An image of the manifest below."""
    return ImageRecord(
        path=f"images/{prompt}-{seed}-{scale}.png",
        variant={"adapters.cereal.scale": scale},
        prompt=prompt,
        seed=seed,
        node_key=sha256(f"{prompt} {seed} {scale}"),
        file_sha256=sha256("file"),
        pixel_sha256=sha256("pixels"),
        width=64,
        height=48,
        environment=environment,
    )


def manifest() -> Manifest:
    """A complete run of two prompts, two seeds and two scales; one image was made elsewhere."""
    elsewhere = ENVIRONMENT.model_copy(update={"device": "NVIDIA H100 80GB HBM3"})
    images = [
        image(prompt, seed, scale, elsewhere if (prompt, seed, scale) == ("cat", 34, 0.5) else None)
        for scale in SCALES
        for prompt in ("bears", "cat")
        for seed in (33, 34)
    ]
    weights = FileRecord(name="cereal.safetensors", size=1234, sha256=sha256("weights"))
    return Manifest(
        status="complete",
        name="cereal-or-film",
        plan_digest=PLAN,
        recipe_sha256=sha256("recipe"),
        overrides=("sampling.num_inference_steps=10",),
        lock_sha256=sha256("lock"),
        git=Git(commit="0123456789" * 4, dirty=True),
        sources=(
            SourceRecord(
                role="adapters.cereal",
                address="ostris/super-cereal-sdxl-lora",
                commit="9876543210" * 4,
                digest=sha256("weights"),
                files=(weights,),
            ),
        ),
        adapters=(
            AdapterRecord(
                name="cereal",
                kind="lora",
                tensors={"unet": ComponentMatch(matched=264, total=264)},
                scales=SCALES,
            ),
        ),
        environment=ENVIRONMENT,
        images=tuple(images),
    )
