"""Embeddings made by other people's trainers, in a text encoder of the true shape of Stable Diffusion 1.5."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.handles import embedding_model, file_source, handle, lora_model
from support.module_tables import unet
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from recipe_runner.plan.resolved import ResolvedAdapter
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.runtime.adapters import Adapters

SHARED = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the real files of ../shared/data are not here")

BASE = ResolvedBase(source=file_source(Path(__file__)), pipeline="StableDiffusionPipeline")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """A pipeline of a text encoder, 0.5 GB of random values, and a UNet without memory, which nothing reaches here."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(SHARED / "sd15" / "text_encoder")).eval()
    tokenizer = CLIPTokenizer.from_pretrained(SHARED / "sd15" / "tokenizer")
    return SimpleNamespace(text_encoder=encoder, tokenizer=tokenizer, unet=unet("sd1"))


def vectors_of(path: Path) -> torch.Tensor:
    """The file's only vectors, read by plain calls."""
    tree: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    value: Any = tree["string_to_param"]["*"] if "string_to_param" in tree else next(iter(tree.values()))
    vectors: torch.Tensor = value.reshape(-1, 768)
    return vectors


def first_layer(pipeline: Any, prompt: str) -> torch.Tensor:
    """What the encoder's layers get for `prompt`, without the positions: [tokens, 768], marks left out."""
    found: list[torch.Tensor] = []
    embeddings = pipeline.text_encoder.embeddings
    positions: torch.Tensor = embeddings.position_embedding.weight
    hook = embeddings.register_forward_hook(lambda _module, _arguments, output: found.append(output))
    ids = pipeline.tokenizer(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        pipeline.text_encoder(ids)
    hook.remove()
    return found[0][0, 1:-1] - positions[1 : ids.shape[1] - 1]


@pytest.mark.parametrize(
    ("name", "token", "written", "count"),
    [
        ("ti-gta5-artwork.bin", None, "<gta5-artwork>", 1),
        ("ti-learned-embeds.safetensors", None, "<detail-schemas>", 1),
        ("ti-EasyNegative-a1111.safetensors", "EasyNegative", "easynegative", 8),
        ("ti-bad-artist-a1111.pt", None, "Bad-Artist", 2),
        ("ti-UnrealisticDream.pt", None, "UnrealisticDream", 37),
    ],
)
def test_every_vector_of_a_real_file_reaches_the_encoder(
    pipeline: Any, name: str, token: str | None, written: str, count: int
) -> None:
    path = SHARED / "adapters" / name
    model = embedding_model(path, token=token)
    adapters = Adapters(pipeline, allow_pickle=True)
    adapters.reconcile(handle(BASE, model), ("text_encoder",))
    assert adapters.tensor_counts(model) == {"text_encoder": (1, 1)}
    got = first_layer(pipeline, f"a {written}, photo")
    expected = vectors_of(path)
    assert expected.shape == (count, 768)
    assert torch.allclose(got[1 : count + 1], expected, atol=1e-6)
    assert len(got) == count + 3
    adapters.reconcile(handle(BASE), ("text_encoder",))
    assert len(first_layer(pipeline, f"a {written}")) > 2


def test_all_real_files_work_at_once(pipeline: Any) -> None:
    folder = SHARED / "adapters"
    models: list[ResolvedAdapter] = [
        embedding_model(folder / "ti-gta5-artwork.bin", "gta"),
        embedding_model(folder / "ti-EasyNegative-a1111.safetensors", "easy", token="EasyNegative"),  # noqa: S106
        embedding_model(folder / "ti-bad-artist-a1111.pt", "bad"),
        lora_model(folder / "lora-cloneofsimo-disney.safetensors", "disney"),
    ]
    adapters = Adapters(pipeline, allow_pickle=True)
    adapters.reconcile(handle(BASE, *models), ("text_encoder",))
    # Its two tokens are among those of the text encoder; 386 tensors in all.
    assert adapters.tensor_counts(models[-1]) == {"text_encoder": (98, 98), "unet": (288, 288)}
    disney = load_file(folder / "lora-cloneofsimo-disney.safetensors")
    expected = [
        *vectors_of(folder / "ti-EasyNegative-a1111.safetensors"),
        *vectors_of(folder / "ti-gta5-artwork.bin"),
        disney["<s1>"],
        disney["<s2>"],
        *vectors_of(folder / "ti-bad-artist-a1111.pt"),
    ]
    got = first_layer(pipeline, "EASYNEGATIVE<gta5-artwork><s1><s2> bad-artist")
    assert torch.allclose(got, torch.stack(expected), atol=1e-6)
    adapters.reconcile(handle(BASE), ("text_encoder",))
