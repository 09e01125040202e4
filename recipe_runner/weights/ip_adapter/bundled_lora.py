"""The LoRA inside a FaceID file, as a layout like any other's."""

from __future__ import annotations

from collections.abc import Mapping

from recipe_runner.weights.ip_adapter.fit import fit_ip_adapter, lora_module
from recipe_runner.weights.ip_adapter.read import read_ip_adapter
from recipe_runner.weights.lora import LoraLayout, LoraModule
from recipe_runner.weights.modules import Modules, Shape


def bundled_lora(shapes: Mapping[str, Shape], modules: Modules, label: str) -> LoraLayout:
    """The modules of a UNet that the factors of the bundled LoRA change; the file's other tensors are left out.

    Raises:
        WeightsError: E640 to E642, the file is not a whole IP-Adapter or does not fit.
    """
    layout = read_ip_adapter(shapes, label)
    places = {place.number: place.module for place in fit_ip_adapter(layout, shapes, modules, label)}
    found = []
    used: set[str] = set()
    for (number, projection), rank in layout.lora.items():
        key, module = f"ip_adapter.{number}.{projection}_lora", lora_module(places[number], projection)
        tensors = {"down": f"{key}.down.weight", "up": f"{key}.up.weight"}
        used.update(tensors.values())
        found.append(
            LoraModule(
                component="unet",
                module=module,
                kind="lora",
                tensors=tensors,
                shape=modules[module],
                rank=rank,
            )
        )
    dropped = tuple((key, "the IP-Adapter itself") for key in shapes if key not in used)
    return LoraLayout(layout="FaceID", modules=tuple(found), dropped=dropped, tensor_count=len(shapes))
