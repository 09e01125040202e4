"""`recipe-runner doctor`: what this machine has, and whether an image comes out twice the same."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.cli.options import add_format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recipe_runner.canonical import Json

EXAMPLES = """\
examples:
  recipe-runner doctor
  recipe-runner doctor --device cuda:1
  recipe-runner doctor --format json

The self-test makes one picture twice, from the files each time, and compares every bit. It uses the demo model when
it is run in a checkout of recipe_runner, and else a tiny model with random weights. Exit status 1 when they differ.
"""
DEMO = Path(__file__).parents[2] / "recipes" / "demo" / "model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_format(parser, "human", "json")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (default: auto)")


def run(arguments: argparse.Namespace) -> int:
    """Print what there is, then run the self-test."""
    from recipe_runner.runtime.device.devices import choose_device, present_devices  # noqa: PLC0415 - imports torch
    from recipe_runner.runtime.device.environment import describe_environment  # noqa: PLC0415
    from recipe_runner.runtime.device.selftest import selftest  # noqa: PLC0415

    environment = describe_environment(choose_device(arguments.device), "strict")
    told: dict[str, Any] = {"devices": list(present_devices()), "environment": environment}
    if arguments.format == "human":
        print("\n".join(_lines(told["devices"], environment)), flush=True)  # noqa: T201
    result = selftest(arguments.device, DEMO if DEMO.is_dir() else None)
    told["self_test"] = {"identical": result.identical, "model": result.model, "seconds": round(result.seconds, 2)}
    if arguments.format == "json":
        json.dump(told, sys.stdout, indent=2)
        print()  # noqa: T201
    else:
        verdict = "identical, bit for bit" if result.identical else "DIFFERENT"
        print(f"self-test: {result.model}, the same picture twice: {verdict}")  # noqa: T201
    return 0 if result.identical else 1


def _lines(devices: list[str], environment: Mapping[str, Json]) -> list[str]:
    lines = [f"devices: {', '.join(devices)}", f"device: {environment['device']}", "versions:"]
    for title, values in (("", environment["versions"]), ("determinism at level strict:", environment["determinism"])):
        if title:
            lines.append(title)
        if isinstance(values, dict):
            lines += [
                f"  {name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
            ]
    return lines
