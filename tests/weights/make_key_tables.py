"""Write the key tables in `layouts/identify` and `recipe_runner/weights/checkpoint/layouts` anew.

They come from the classes of diffusers and transformers at their true sizes:

.venv/bin/python tests/weights/make_key_tables.py

Nothing is allocated: models are made on the meta device. Original names are written down here and proved by giving
them to diffusers' own converters, which must make the class's names of them.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import diffusers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from diffusers.loaders import single_file_utils as theirs  # noqa: E402
from support.ip_adapters import SD15_WIDTHS, attention_shapes, projection_shapes  # noqa: E402
from support.key_tables import write_key_table, written  # noqa: E402
from support.lora_tables import LORAS, lora_shapes  # noqa: E402
from support.model_tables import ENCODERS, MODELS  # noqa: E402
from support.module_tables import unet  # noqa: E402
from support.original import original_shapes  # noqa: E402
from support.original_names import ORIGINALS, original_table  # noqa: E402
from support.other_tables import OTHERS  # noqa: E402

from recipe_runner.weights.checkpoint.original_layout import is_leftover  # noqa: E402
from recipe_runner.weights.modules import Shape  # noqa: E402

TARGET = Path(__file__).parent / "layouts" / "identify"
SHIPPED = ROOT / "recipe_runner/weights/checkpoint/layouts"


def shapes_of(model: Any) -> dict[str, Shape]:
    """Every tensor that the model saves."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def made(class_name: str, arguments: dict[str, Any]) -> dict[str, Shape]:
    """The tensors of a class of diffusers, on the meta device."""
    with torch.device("meta"):
        return shapes_of(getattr(diffusers, class_name)(**arguments))


def prove(name: str, converter: str, shapes: dict[str, Shape], wanted: dict[str, Shape]) -> None:
    """Diffusers' own converter must make the class's names of the original ones."""
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    function = getattr(theirs, converter)
    arguments: dict[str, Any] = {"config": {}} if "config" in inspect.signature(function).parameters else {}
    converted = {key: tuple(tensor.shape) for key, tensor in function(tensors, **arguments).items()}
    differing = sorted(set(converted.items()) ^ set(wanted.items()))
    if differing:
        message = f"{name}: {converter} makes other names: {differing[:6]}"
        raise AssertionError(message)


def main() -> None:
    """Write all tables."""
    tables: dict[str, tuple[str, dict[str, Any], dict[str, Shape]]] = {}
    whole: dict[str, dict[str, Shape]] = {}
    for name, (class_name, arguments, expect) in MODELS.items():
        whole[name] = made(class_name, arguments)
        tables[name] = (f"diffusers {class_name}", {"layout": "diffusers", **expect}, whole[name])
    for family in ("sd1", "sd2", "sdxl"):
        whole[family] = shapes_of(unet(family))
        tables[f"unet-{family}"] = (
            "diffusers UNet2DConditionModel",
            {"kind": "unet", "layout": "diffusers", "family": family},
            whole[family],
        )
        with torch.device("meta"):
            control = diffusers.ControlNetModel.from_unet(unet(family), load_weights_from_unet=False)
        tables[f"controlnet-{family}"] = (
            "diffusers ControlNetModel",
            {"kind": "controlnet", "family": family},
            shapes_of(control),
        )
        original = original_shapes(family)
        SHIPPED.mkdir(exist_ok=True)
        wanted = {key: shape for key, shape in original.items() if not is_leftover(key)}
        (SHIPPED / f"{family}.json").write_text(f"{{\n{written(wanted)}\n}}\n")
        tables[f"checkpoint-{family}"] = (
            "a whole checkpoint, as the original code saved it",
            {"kind": "checkpoint", "layout": "ldm", "family": family},
            original,
        )
        alone = {
            key.removeprefix("model.diffusion_model."): s for key, s in original.items() if "diffusion_model" in key
        }
        tables[f"unet-{family}-ldm"] = (
            "the UNet of an original checkpoint",
            {"kind": "unet", "layout": "ldm", "family": family},
            alone,
        )
    tables["vae-sd-ldm"] = (
        "the VAE of an original checkpoint",
        {"kind": "vae", "layout": "ldm", "family": None},
        {
            k.removeprefix("first_stage_model."): s
            for k, s in original_shapes("sd1").items()
            if k.startswith("first_stage_model.")
        },
    )
    for name, (class_name, config, expect) in ENCODERS.items():
        with torch.device("meta"):
            tables[name] = (
                f"transformers {class_name}",
                {"layout": "transformers", **expect},
                shapes_of(getattr(transformers, class_name)(config())),
            )
    for name, (source, family, prefix, converter) in ORIGINALS.items():
        shapes = whole[name] = original_table(name)
        if converter:
            prove(name, converter, dict(shapes), whole[source])
        layout = "comfyui" if prefix else "original"
        tables[name] = (
            "the original code's names",
            {"kind": "transformer", "layout": layout, "family": family},
            {f"{prefix}{key}": shape for key, shape in shapes.items()},
        )
    for variant, cross, read, family in (
        ("base", 768, 1024, "sd1"),
        ("plus", 2048, 1280, "sdxl"),
        ("full", 768, 1280, "sd1"),
        ("faceid", 768, 512, "sd1"),
        ("faceid_plus", 2048, 1280, "sdxl"),
    ):
        expect = {
            "kind": "ip_adapter",
            "layout": "h94",
            "family": family,
            "variety": variant.replace("full", "full face").replace("_", " "),
        }
        shapes = projection_shapes(variant, cross=cross, read=read) | attention_shapes(SD15_WIDTHS, cross)
        tables[f"ip-adapter-{variant}"] = ("h94/IP-Adapter", expect, shapes)
    for name, (about, expect, build) in LORAS.items():
        tables[name] = (about, expect, lora_shapes(whole, build))
    tables |= OTHERS
    TARGET.mkdir(exist_ok=True)
    for old in TARGET.glob("*.json"):
        old.unlink()
    for name, (about, expect, shapes) in tables.items():
        write_key_table(TARGET / f"{name}.json", about, expect, shapes)
    print(  # noqa: T201
        len(tables),
        "tables,",
        len({e.get("family") for _, e, _ in tables.values()} - {None}),
        "families,",
        sum(path.stat().st_size for path in TARGET.glob("*.json")),
        "bytes",
    )


if __name__ == "__main__":
    main()
