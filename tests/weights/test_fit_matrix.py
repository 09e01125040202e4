"""Every LoRA layout against every base: which fit, and what is said of those that do not."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from support.key_tables import read_key_table

from recipe_runner.weights.lora import read_layout
from recipe_runner.weights.lora.family import family_of_base
from recipe_runner.weights.modules import ModuleTable, component_modules

TABLES = Path(__file__).parent / "layouts" / "identify"
ADAPTERS = sorted(path.stem for pattern in ("lora-*", "lycoris-*") for path in TABLES.glob(f"{pattern}.json"))
_CLIP_L, _CLIP_G = "text-encoder-clip-l", "text-encoder-clip-g"
BASES: dict[str, dict[str, str]] = {
    "sd1": {"unet": "unet-sd1", "text_encoder": _CLIP_L},
    "sd2": {"unet": "unet-sd2"},
    "sdxl": {"unet": "unet-sdxl", "text_encoder": _CLIP_L, "text_encoder_2": _CLIP_G},
    "flux1": {"transformer": "flux1", "text_encoder": _CLIP_L},
    "sd3": {"transformer": "sd3-medium"},
    **{
        family: {"transformer": table}
        for family, table in {
            "flux2": "flux2", "qwen-image": "qwen-image", "z-image": "z-image", "wan": "wan-14b",
            "hunyuan-video": "hunyuan-video", "ltx": "ltx", "lumina2": "lumina2", "auraflow": "auraflow",
            "chroma": "chroma", "mochi": "mochi", "sana": "sana", "pixart": "pixart", "hidream": "hidream",
            "krea2": "krea2", "cogvideox": "cogvideox-5b", "cogview": "cogview4", "kandinsky": "kandinsky5",
        }.items()
    },
}  # fmt: skip

LANDS_ON_OTHERS = {
    # Built of FLUX.1's blocks, with more of them; Chroma lacks the modulations.
    ("lora-flux1-bfl", "hunyuan-video"), ("lora-flux1-comfyui", "hunyuan-video"),
    ("lora-flux1-diffusers", "hunyuan-video"), ("lora-flux1-diffusers", "chroma"),
    ("lora-flux1-kohya", "hunyuan-video"), ("lora-flux1-onetrainer", "hunyuan-video"),
    ("lora-flux1-onetrainer", "chroma"), ("lora-flux1-xlabs", "hunyuan-video"), ("lora-flux1-xlabs", "chroma"),
    ("lycoris-flux1-lokr", "hunyuan-video"), ("lycoris-flux1-lokr", "chroma"),
    # Attentions of one width, and Mochi has more blocks.
    ("lora-cogvideox-diffusers", "mochi"),
}  # fmt: skip
"""Adapters that land whole on a base of another family, which is then warned of (W763)."""
OTHER_SIZE = {"lora-wan-1.3b-ai-toolkit", "lora-sd1-cloneofsimo"}
"""Of the family, and made for a model of another size (or, of cloneofsimo's, a part of a file)."""


@cache
def base(family: str) -> ModuleTable:
    return {
        name: component_modules({**read_key_table(TABLES / f"{table}.json")["tensors"]})
        for name, table in BASES[family].items()
    }


@pytest.mark.parametrize("family", list(BASES))
def test_a_base_is_told_by_its_modules(family: str) -> None:
    found = family_of_base(base(family))
    assert found is not None
    assert found.family.name == family


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_fits_the_bases_of_its_family_and_no_other(name: str) -> None:
    tree = read_key_table(TABLES / f"{name}.json")
    own = tree["expect"]["family"]
    for family in BASES:
        layout = read_layout(tree["tensors"], base(family))
        lands = bool(layout.modules) and not layout.unmatched
        if family == own:
            assert lands == (name not in OTHER_SIZE), (name, family, layout.unmatched[:2])
            continue
        assert lands == ((name, family) in LANDS_ON_OTHERS), (name, family)
        if layout.unmatched:
            assert layout.advice.startswith("this LoRA was trained on "), (name, family)
            assert "; the base is " in layout.advice
