"""The PEFT configuration of a file: ranks and alphas that no tensor states.

diffusers writes it into the file's metadata and trusts it; PEFT writes it into `adapter_config.json` beside the file,
which diffusers does not read. Either can scale the adapter by a wrong factor without a warning. Here both are read, and
must agree with the tensors. Source: diffusers `loaders/lora_base.py`, `LORA_ADAPTER_METADATA_KEY`; peft `LoraConfig`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe_runner.problems.problem import WeightsError

METADATA_KEY = "lora_adapter_metadata"
CONFIG_NAME = "adapter_config.json"
"""PEFT's file beside the weights, and the key under which a reader adds its text to the file's own metadata."""
WEIGHTS_STEM = "adapter_model"
"""PEFT's name for the weights beside it."""

_MOST_BYTES = 8_000_000
_SAID = {METADATA_KEY: "the metadata", CONFIG_NAME: CONFIG_NAME}
_COMPONENTS = ("unet", "transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3")
_UNSUPPORTED = ("layer_replication", "alora_invocation_tokens", "use_qalora", "arrow_config", "target_parameters",
                "modules_to_save", "trainable_token_indices")  # fmt: skip
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PATTERN = re.compile(r"\^?[\w.]+\$?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """Rank and alpha of one component's modules, by name. `said` is where they are stated: `the metadata`.

    `rank_pattern` is None when its keys are regular expressions: the tensors show the ranks too.
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
            raise _wrong(self.said, f"states the alpha of {module}, and so does a tensor")
        # PEFT divides by the configured rank also where a LoKr has both blocks whole.
        stated = rank if self.rank_pattern is None else _matching(self.rank_pattern, module, self.rank)
        if rank and stated != rank:
            raise _wrong(self.said, f"states rank {stated} for {module}, and its tensors have rank {rank}")
        if not stated:
            problem = f"has regular expressions for the rank of {module}, whose tensors do not show one"
            raise _wrong(self.said, problem)
        alpha: float = _matching(self.alpha_pattern, module, self.alpha)
        if self.rank_stabilized:
            alpha *= math.sqrt(stated)
        return alpha, stated


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
            raise _wrong(CONFIG_NAME, f"is larger than {_MOST_BYTES} bytes, the most that is read")
        return {**metadata, CONFIG_NAME: text.decode("utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(CONFIG_NAME, f"cannot be read ({error})") from error


def read_peft_configs(metadata: Mapping[str, str]) -> dict[str | None, PeftConfig]:
    """The configuration of each component that the metadata has one for; under None one that names no component.

    Raises:
        WeightsError: E605 when it is broken, or asks for what cannot be applied.
    """
    key = next((key for key in _SAID if key in metadata), None)
    if key is None:
        return {}
    configs: dict[str | None, PeftConfig] = {}
    for component, fields in _by_component(_tree(key, metadata[key])).items():
        if "r" in fields:
            configs[component] = _config(fields, _SAID[key])
    return configs


def _tree(key: str, text: str) -> dict[str, Any]:
    name = f"the metadata's {key}" if key == METADATA_KEY else key
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(name, f"is not JSON ({error})") from error
    if not isinstance(tree, dict):
        raise _wrong(name, "is not a JSON object")
    return tree


def _by_component(tree: Mapping[str, Any]) -> dict[str | None, dict[str, Any]]:
    """Fields by component: diffusers writes `unet.r`, PEFT `r` alone."""
    split: dict[str | None, dict[str, Any]] = {}
    for name, value in tree.items():
        prefix, _, field = name.partition(".")
        if field and prefix in _COMPONENTS:
            split.setdefault(prefix, {})[field] = value
        else:
            split.setdefault(None, {})[name] = value
    return split


def _config(fields: Mapping[str, Any], said: str) -> PeftConfig:
    _require_supported(fields, said)
    rank = fields["r"]
    if not _is_rank(rank):
        raise _wrong(said, f"states the rank {rank!r:.60}, which is not a positive integer")
    # LoHa and LoKr call it alpha.
    name = "alpha" if "alpha" in fields and "lora_alpha" not in fields else "lora_alpha"
    alpha = fields.get(name, rank)
    if not _is_number(alpha):
        raise _wrong(said, f"states the {name} {alpha!r:.60}, which is not a number")
    ranks = _pattern(fields, "rank_pattern", _is_rank, said)
    alphas = _pattern(fields, "alpha_pattern", _is_number, said)
    foreign = _expressions(alphas)
    if foreign:
        raise _wrong(said, f"has a key in alpha_pattern that is not the name of a module: {foreign[0]!r:.60}")
    known = None if _expressions(ranks) else ranks
    return PeftConfig(said, rank, float(alpha), known, alphas, bool(fields.get("use_rslora")))


def _require_supported(fields: Mapping[str, Any], said: str) -> None:
    for name in _UNSUPPORTED:
        if fields.get(name):
            raise _wrong(said, f"sets {name}, which is not supported")
    method = fields.get("init_lora_weights")
    if isinstance(method, str) and method.lower().startswith(_CHANGE_THE_BASE):
        raise _wrong(
            said,
            f"states init_lora_weights {method:.40}, which changes the base's own weights",
            "save it as a plain LoRA: peft's `save_pretrained` with `path_initial_model_for_weight_conversion`",
        )


def _pattern(fields: Mapping[str, Any], name: str, fits: Callable[[object], bool], said: str) -> dict[str, Any]:
    """Values by module that differ from the value for all."""
    pattern = fields.get(name) or {}
    if not isinstance(pattern, dict) or not all(map(fits, pattern.values())):
        raise _wrong(said, f"has a {name} that is not a mapping of modules to numbers")
    return pattern


def _expressions(pattern: Mapping[str, Any]) -> list[str]:
    """The keys that are regular expressions, not names of modules."""
    return [key for key in pattern if not _PATTERN.fullmatch(key)]


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


def _wrong(
    said: str, problem: str, hint: str = "what states the file's ranks and alphas contradicts its tensors"
) -> WeightsError:
    return WeightsError.of("E605", f"{said} {problem}", hint)
