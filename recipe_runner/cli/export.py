"""`recipe-runner export`: write a recipe as a diffusers script, a ComfyUI graph, or A1111 parameters."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_force, add_format, add_recipe
from recipe_runner.cli.output import exit_status, write_json, write_lines, write_new
from recipe_runner.problems.place import Place

if TYPE_CHECKING:
    from recipe_runner.exchange.exporters.exported import Exported
    from recipe_runner.problems.problem import Problem

EXAMPLES = """\
examples:
  recipe-runner export recipes/quickstart.yaml --to python -o quickstart.py
  recipe-runner export recipes/quickstart.yaml --to comfyui > workflow.json
  recipe-runner export recipes/quickstart.yaml --to a1111 -o texts/    # one text per image

A Python script needs diffusers but not recipe-runner, and makes the same pixels. Where diffusers would make different
pixels, a comment in the script says so and the exit status is 1. ComfyUI and A1111 have their own samplers, so their
images are similar at best; what their formats cannot express is listed on stderr.
"""

_WRITABLE = ("alpha", "key layout", "cannot merge adapters")
"""Words in sentences about adapters for which `export-adapter` is the remedy."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_recipe(parser)
    parser.add_argument("--to", choices=["python", "comfyui", "a1111"], required=True, help="format to write")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="file or folder to write to (default: stdout)"
    )
    add_force(parser)
    add_format(parser, "human", "json")


def run(arguments: argparse.Namespace) -> int:
    """Write or print the export; 1 if it makes different images."""
    from recipe_runner.actions.prepare import prepare  # noqa: PLC0415 - imports pydantic
    from recipe_runner.report.terminal.problems import print_problems, problems_json  # noqa: PLC0415

    output: Path | None = arguments.output
    prepared = prepare(arguments.recipe, arguments.overrides)
    exported = _export(arguments.to, prepared, _folder(output), beside=output is not None)
    problems = _problems(exported, str(arguments.recipe))
    paths: list[str] = []
    if output is not None:
        paths = _write(exported, output, force=arguments.force)
    if arguments.format == "json":
        texts = [{"name": name, "text": text} for name, text in exported.texts.items()]
        write_json({"to": arguments.to, "paths": paths, "texts": texts, **problems_json(problems)})
        return exit_status(problems)
    if output is None:
        _print("\n".join(exported.texts.values()), arguments.to)
    else:
        write_lines(paths)
    print_problems(problems, "human", file=sys.stderr)
    return exit_status(problems)


def _folder(output: Path | None) -> Path:
    """The folder that the export is written to."""
    if output is None:
        return Path()
    return output if output.is_dir() else output.parent


def _print(text: str, target: str) -> None:
    from recipe_runner.report.escape import Written, inert, visible  # noqa: PLC0415

    sys.stdout.write(Written(text))
    # The other formats escape these characters themselves.
    if target == "a1111" and inert(visible(text)) != text:
        sys.stderr.write("some characters are escaped here; use -o to write the texts unchanged\n")


def _export(target: str, prepared: object, folder: Path, *, beside: bool) -> Exported:
    from recipe_runner.actions.prepare import Prepared  # noqa: PLC0415

    assert isinstance(prepared, Prepared)  # noqa: S101 - for the type checker, without importing pydantic above
    if target == "python":
        from recipe_runner.exchange.python.script import to_python  # noqa: PLC0415

        description = str(prepared.document.tree.get("description") or "")
        return to_python(prepared.plan, folder, beside_script=beside, description=description)
    if target == "comfyui":
        from recipe_runner.exchange.exporters.comfyui import to_comfyui  # noqa: PLC0415

        return to_comfyui(prepared.plan)
    from recipe_runner.exchange.exporters.a1111 import to_a1111  # noqa: PLC0415

    return to_a1111(prepared.plan)


def _problems(exported: Exported, path: str) -> list[Problem]:
    from recipe_runner.problems.problem import Problem  # noqa: PLC0415

    place = Place(path)
    problems = []
    for sentence in exported.wrong:
        hint = ""
        if any(words in sentence for words in _WRITABLE):
            hint = "`recipe-runner export-adapter` writes a LoRA or merge as a file that plain diffusers loads"
        problems.append(Problem.at(place, "E860", sentence, hint))
    problems += [Problem.at(place, "W851", sentence, severity="warning") for sentence in exported.notes]
    return problems


def _write(exported: Exported, output: Path, *, force: bool) -> list[str]:
    into_folder = output.is_dir() or len(exported.texts) > 1
    paths = []
    for name, text in exported.texts.items():
        path = output / name if into_folder else output
        write_new(path, text, force=force, make_folder=into_folder)
        paths.append(path.as_posix())
    return paths
