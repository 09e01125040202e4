"""The kinds of adapters: one small file each, registered here by hand and in order."""

from __future__ import annotations

from collections.abc import Mapping

from recipe_runner.adapters import lora, waiting
from recipe_runner.adapters.kind import Kind

KINDS: Mapping[str, Kind] = {
    "lora": lora,
    "textual_inversion": waiting,
    "ip_adapter": waiting,
    "merge": waiting,
}
