"""The kinds of adapters: one small file each, registered here by hand and in order."""

from __future__ import annotations

from collections.abc import Mapping

import recipe_runner.adapters.ip_adapter as ip_adapter_kind
import recipe_runner.adapters.lora as lora_kind
import recipe_runner.adapters.merge as merge_kind
import recipe_runner.adapters.textual_inversion as textual_inversion_kind
from recipe_runner.adapters.kind import Kind

KINDS: Mapping[str, Kind] = {
    "lora": lora_kind,
    "textual_inversion": textual_inversion_kind,
    "ip_adapter": ip_adapter_kind,
    "merge": merge_kind,
}
