"""`recipe-runner doctor`: show devices, versions and determinism, and make one image twice to compare."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_format
from recipe_runner.cli.output import write_json, write_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recipe_runner.canonical import Json

EXAMPLES = """\
examples:
  recipe-runner doctor
  recipe-runner doctor --device cuda:1
  recipe-runner doctor --format json

The self-test makes one image twice, loading the model anew each time, and compares every bit. In a checkout of
recipe_runner it uses the demo model, elsewhere a tiny model with random weights. Exit status 1 if the images differ.
"""
DEMO = Path(__file__).parents[2] / "recipes" / "demo" / "model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_format(parser, "human", "json")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (default: auto)")


def run(arguments: argparse.Namespace) -> int:
    """Print what this machine has, then run the self-test."""
    from recipe_runner.problems.codes import NO  # noqa: PLC0415
    from recipe_runner.runtime.device.devices import choose_device, present_devices  # noqa: PLC0415 - imports torch
    from recipe_runner.runtime.device.environment import describe_environment  # noqa: PLC0415
    from recipe_runner.runtime.device.selftest import selftest  # noqa: PLC0415

    as_json = arguments.format == "json"
    devices = list(present_devices())
    environment = describe_environment(choose_device(arguments.device), "strict")
    if not as_json:
        write_lines(_lines(devices, environment))
        sys.stdout.flush()
    result = selftest(arguments.device, DEMO if DEMO.is_dir() else None)
    if as_json:
        self_test = {"identical": result.identical, "model": result.model, "seconds": round(result.seconds, 2)}
        write_json({"devices": devices, "environment": environment, "self_test": self_test})
    else:
        verdict = "identical, bit for bit" if result.identical else "DIFFERENT"
        write_lines([f"self-test: {result.model}, the same image twice: {verdict}"])
    return 0 if result.identical else NO


def _lines(devices: list[str], environment: Mapping[str, Json]) -> list[str]:
    lines = [f"devices: {', '.join(devices)}", f"device: {environment['device']}", "versions:"]
    lines += _values(environment["versions"])
    lines.append("determinism at level strict:")
    lines += _values(environment["determinism"])
    return lines


def _values(values: Json) -> list[str]:
    if not isinstance(values, dict):
        return []
    lines = []
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"  {name}: {text}")
    return lines
