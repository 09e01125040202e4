"""The PEFT configuration that diffusers writes into a file's metadata: ranks and alphas that no tensor states.

diffusers believes it whole, so a wrong one silently scales the adapter by any factor; here it must agree with the
tensors. Source: diffusers `loaders/lora_base.py`, `LORA_ADAPTER_METADATA_KEY`; peft `LoraConfig`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipe_runner.errors import Problem, WeightsError

METADATA_KEY = "lora_adapter_metadata"
_COMPONENTS = ("unet", "transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3")
_UNSUPPORTED = ("layer_replication", "alora_invocation_tokens", "use_qalora", "arrow_config", "target_parameters",
                "modules_to_save", "trainable_token_indices")  # fmt: skip
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PATTERN = re.compile(r"\^?[\w.]+\$?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """Rank and alpha of one component's modules, by name."""

    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilized: bool

    def alpha_for(self, module: str, rank: int, *, has_tensor: bool) -> tuple[float, int]:
        """Alpha of `module` and the rank that it is divided by; `rank` is that of its tensors, 0 where they show none.

        Raises:
            WeightsError: E605 when the tensors have another rank than the configuration says, or an alpha of their own.
        """
        if has_tensor:
            reason = f"both the metadata and a tensor state the alpha of {module}"
            raise _wrong(reason)
        said = _matching(self.rank_pattern, module, self.rank)
        # PEFT divides by the rank that was asked for also where a LoKr has both blocks whole.
        if rank and said != rank:
            reason = f"the metadata says rank {said} for {module}, and its tensors have rank {rank}"
            raise _wrong(reason)
        alpha: float = _matching(self.alpha_pattern, module, self.alpha)
        return (alpha * math.sqrt(said) if self.rank_stabilized else alpha), said


def read_peft_configs(metadata: Mapping[str, str]) -> dict[str | None, PeftConfig]:
    """The configuration of each component that the metadata has one for; under None one that names no component.

    Raises:
        WeightsError: E605 when it is broken, or asks for what cannot be applied.
    """
    text = metadata.get(METADATA_KEY)
    if text is None:
        return {}
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f"the metadata's {METADATA_KEY} is not JSON ({error})"
        raise _wrong(reason) from error
    if not isinstance(tree, dict):
        reason = f"the metadata's {METADATA_KEY} is not a JSON object"
        raise _wrong(reason)
    split: dict[str | None, dict[str, Any]] = {}
    for key, value in tree.items():
        prefix, _, field = key.partition(".")
        if field and prefix in _COMPONENTS:
            split.setdefault(prefix, {})[field] = value
        else:
            split.setdefault(None, {})[key] = value
    return {component: _config(fields) for component, fields in split.items() if "r" in fields}


def _config(fields: Mapping[str, Any]) -> PeftConfig:
    for name in _UNSUPPORTED:
        if fields.get(name):
            reason = f"the metadata asks for {name}, which is not applied here"
            raise _wrong(reason)
    began = fields.get("init_lora_weights")
    if isinstance(began, str) and began.lower().startswith(_CHANGE_THE_BASE):
        reason = f"the metadata says init_lora_weights {began:.40}, which took a part of the base's own weights away"
        hint = "save it as a plain LoRA: peft's `save_pretrained` with `path_initial_model_for_weight_conversion`"
        raise _wrong(reason, hint)
    rank = fields["r"]
    if not _is_rank(rank):
        reason = f"the metadata's rank is {rank!r:.60}"
        raise _wrong(reason)
    name = "lora_alpha" if "lora_alpha" in fields or "alpha" not in fields else "alpha"  # LoHa and LoKr say alpha
    alpha = fields.get(name, rank)
    if not _is_number(alpha):
        reason = f"the metadata's {name} is {alpha!r:.60}"
        raise _wrong(reason)
    ranks, alphas = fields.get("rank_pattern") or {}, fields.get("alpha_pattern") or {}
    for name, pattern, fits in (("rank_pattern", ranks, _is_rank), ("alpha_pattern", alphas, _is_number)):
        if not isinstance(pattern, dict) or not all(map(fits, pattern.values())):
            reason = f"the metadata's {name} is no mapping of modules to numbers"
            raise _wrong(reason)
        foreign = [key for key in pattern if not _PATTERN.fullmatch(key)]
        if foreign:
            reason = f"the metadata's {name} has a key that is no module's name: {foreign[0]!r:.60}"
            raise _wrong(reason)
    return PeftConfig(rank, float(alpha), ranks, alphas, bool(fields.get("use_rslora")))


def _is_rank(value: object) -> bool:
    return type(value) is int and value > 0


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _matching(pattern: Mapping[str, Any], module: str, default: Any) -> Any:
    """The value of the first key that is the module's name or, without `^`, its last parts, as peft matches them."""
    for key, value in pattern.items():
        name = key.removeprefix("^").removesuffix("$")
        if module == name or (not key.startswith("^") and module.endswith(f".{name}")):
            return value
    return default


def _wrong(message: str, hint: str = "the file's metadata contradicts its tensors") -> WeightsError:
    return WeightsError(Problem(code="E605", message=message, hint=hint))
