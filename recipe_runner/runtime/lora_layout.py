"""Interim: the two most common LoRA key layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LoraModule:
    component: str
    module: str
    kind: str
    tensors: Mapping[str, str]


@dataclass(frozen=True)
class LoraLayout:
    layout: str
    modules: tuple[LoraModule, ...]
    unmatched: tuple[tuple[str, str], ...]


_ROLES = {".lora_A.weight": "down", ".lora_B.weight": "up", ".lora.down.weight": "down", ".lora.up.weight": "up", ".lora_down.weight": "down", ".lora_up.weight": "up", ".alpha": "alpha"}
_KOHYA = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}


def read_layout(shapes, modules):
    names = {}
    for component, found in modules.items():
        for module in found:
            names[f"{component}.{module}"] = (component, module)
            if component.startswith("text_encoder"):
                names[f"{component}.text_model.{module}"] = (component, module)
            for prefix, owner in _KOHYA.items():
                if owner == component:
                    names[prefix + module.replace(".", "_")] = (component, module)
                    names[prefix + "text_model_" + module.replace(".", "_")] = (component, module)
    found, unmatched = {}, []
    for key in shapes:
        for suffix, role in _ROLES.items():
            if key.endswith(suffix) and key.removesuffix(suffix) in names:
                found.setdefault(names[key.removesuffix(suffix)], {})[role] = key
                break
        else:
            unmatched.append((key, "unknown"))
    return LoraLayout("?", tuple(LoraModule(c, m, "lora", t) for (c, m), t in found.items()), tuple(unmatched))
