"""The PEFT configuration of a file: ranks and alphas that no tensor states.

diffusers writes it into the file's metadata and believes it whole, PEFT itself into `adapter_config.json` beside it,
which diffusers does not read: both scale the adapter by any factor in silence. Here it counts, and must agree with the
tensors. Source: diffusers `loaders/lora_base.py`, `LORA_ADAPTER_METADATA_KEY`; peft `LoraConfig`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe_runner.problems.problem import Problem, WeightsError

METADATA_KEY = "lora_adapter_metadata"
CONFIG_NAME = "adapter_config.json"
"""PEFT's file beside the weights, and the key under which a reader adds its text to the file's own metadata."""
WEIGHTS_STEM = "adapter_model"
"""How PEFT calls the weights beside it."""

_MOST_BYTES = 8_000_000
_SAID = {METADATA_KEY: "the metadata", CONFIG_NAME: CONFIG_NAME}
_COMPONENTS = ("unet", "transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3")
_UNSUPPORTED = ("layer_replication", "alora_invocation_tokens", "use_qalora", "arrow_config", "target_parameters",
                "modules_to_save", "trainable_token_indices")  # fmt: skip
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PATTERN = re.compile(r"\^?[\w.]+\$?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """Rank and alpha of one component's modules, by name. `said` is what states them: `the metadata`.

    `rank_pattern` None stands for one that holds regular expressions: the tensors show the ranks too.
    """

    said: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int] | None
    alpha_pattern: Mapping[str, float]
    rank_stabilized: bool

    def alpha_for(self, module: str, rank: int, *, has_tensor: bool) -> tuple[float, int]:
        """Alpha of `module` and the rank that it is divided by; `rank` is that of its tensors, 0 where they show none.

        Raises:
            WeightsError: E605 when the tensors have another rank than the configuration says, or an alpha of their own.
        """
        if has_tensor:
            reason = f"both {self.said} and a tensor state the alpha of {module}"
            raise _wrong(reason)
        # PEFT divides by the rank that was asked for also where a LoKr has both blocks whole.
        stated = rank if self.rank_pattern is None else _matching(self.rank_pattern, module, self.rank)
        if rank and stated != rank:
            reason = f"{self.said} says rank {stated} for {module}, and its tensors have rank {rank}"
            raise _wrong(reason)
        if not stated:
            reason = f"{self.said} has regular expressions for the rank of {module}, whose tensors do not show one"
            raise _wrong(reason)
        alpha: float = _matching(self.alpha_pattern, module, self.alpha)
        return (alpha * math.sqrt(stated) if self.rank_stabilized else alpha), stated


def with_config(metadata: Mapping[str, str], config: Path | None) -> Mapping[str, str]:
    """A file's metadata with the text of the `adapter_config.json` at `config`, where there is one.

    Raises:
        WeightsError: E605 it cannot be read.
    """
    if config is None:
        return metadata
    try:
        with config.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            reason = f"{CONFIG_NAME} is larger than the {_MOST_BYTES} bytes that are read"
            raise _wrong(reason)
        return {**metadata, CONFIG_NAME: text.decode("utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        reason = f"{CONFIG_NAME} cannot be read ({error})"
        raise _wrong(reason) from error


def read_peft_configs(metadata: Mapping[str, str]) -> dict[str | None, PeftConfig]:
    """The configuration of each component that the metadata has one for; under None one that names no component.

    Raises:
        WeightsError: E605 when it is broken, or asks for what cannot be applied.
    """
    key = next((key for key in _SAID if key in metadata), None)
    if key is None:
        return {}
    whole = f"the metadata's {key}" if key == METADATA_KEY else key
    try:
        tree = json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        reason = f"{whole} is not JSON ({error})"
        raise _wrong(reason) from error
    if not isinstance(tree, dict):
        reason = f"{whole} is not a JSON object"
        raise _wrong(reason)
    split: dict[str | None, dict[str, Any]] = {}
    for name, value in tree.items():
        prefix, _, field = name.partition(".")
        if field and prefix in _COMPONENTS:
            split.setdefault(prefix, {})[field] = value
        else:
            split.setdefault(None, {})[name] = value
    return {component: _config(fields, _SAID[key]) for component, fields in split.items() if "r" in fields}


def _config(fields: Mapping[str, Any], said: str) -> PeftConfig:
    for name in _UNSUPPORTED:
        if fields.get(name):
            reason = f"{said} asks for {name}, which is not applied here"
            raise _wrong(reason)
    began = fields.get("init_lora_weights")
    if isinstance(began, str) and began.lower().startswith(_CHANGE_THE_BASE):
        reason = f"{said} says init_lora_weights {began:.40}, which took a part of the base's own weights away"
        hint = "save it as a plain LoRA: peft's `save_pretrained` with `path_initial_model_for_weight_conversion`"
        raise _wrong(reason, hint)
    rank = fields["r"]
    if not _is_rank(rank):
        reason = f"{said}'s rank is {rank!r:.60}"
        raise _wrong(reason)
    name = "lora_alpha" if "lora_alpha" in fields or "alpha" not in fields else "alpha"  # LoHa and LoKr say alpha
    alpha = fields.get(name, rank)
    if not _is_number(alpha):
        reason = f"{said}'s {name} is {alpha!r:.60}"
        raise _wrong(reason)
    ranks, alphas = fields.get("rank_pattern") or {}, fields.get("alpha_pattern") or {}
    for name, pattern, fits in (("rank_pattern", ranks, _is_rank), ("alpha_pattern", alphas, _is_number)):
        if not isinstance(pattern, dict) or not all(map(fits, pattern.values())):
            reason = f"{said}'s {name} is no mapping of modules to numbers"
            raise _wrong(reason)
    foreign = [key for key in alphas if not _PATTERN.fullmatch(key)]
    if foreign:
        reason = f"{said}'s alpha_pattern has a key that is no module's name: {foreign[0]!r:.60}"
        raise _wrong(reason)
    known = None if any(not _PATTERN.fullmatch(key) for key in ranks) else ranks
    return PeftConfig(said, rank, float(alpha), known, alphas, bool(fields.get("use_rslora")))


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


def _wrong(message: str, hint: str = "what states the file's ranks and alphas contradicts its tensors") -> WeightsError:
    return WeightsError(Problem(code="E605", message=message, hint=hint))
