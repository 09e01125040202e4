"""`recipe-runner export`: a recipe as a diffusers script, a ComfyUI graph, or A1111's text."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_format, add_recipe
from recipe_runner.problems.place import Place

if TYPE_CHECKING:
    from recipe_runner.exchange.exporters.exported import Exported
    from recipe_runner.problems.problem import Problem

EXAMPLES = """\
examples:
  recipe-runner export recipes/quickstart.yaml --to python -o quickstart.py
  recipe-runner export recipes/quickstart.yaml --to comfyui > workflow.json
  recipe-runner export recipes/quickstart.yaml --to a1111 -o texts/    # one text for each picture

A python script needs diffusers and nothing of recipe-runner, and makes the same pixels; where diffusers would make
others, a comment in it says so and the exit status is 1. ComfyUI and A1111 sample by code of their own, so what they
make is alike at best; what cannot be said there at all is listed on stderr.
"""

_WRITABLE = ("alpha", "key layout", "merges no adapters")
"""Words of the sentences about adapters that `export-adapter` puts right."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_recipe(parser)
    parser.add_argument("--to", choices=["python", "comfyui", "a1111"], required=True, help="the format to write")
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="the file to write, or a folder")
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    add_format(parser, "human", "json")


def run(arguments: argparse.Namespace) -> int:
    """Write or print the export; 1 when it makes other pictures."""
    from recipe_runner.actions.prepare import prepare  # noqa: PLC0415 - imports pydantic
    from recipe_runner.problems.codes import CODES  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems, problems_json  # noqa: PLC0415

    output: Path | None = arguments.output
    prepared = prepare(arguments.recipe, arguments.overrides)
    folder = Path() if output is None else output if output.is_dir() else output.parent
    exported = _export(arguments.to, prepared, folder, beside=output is not None)
    problems = _problems(exported, str(arguments.recipe))
    paths = [] if output is None else _write(exported, output, force=arguments.force)
    if arguments.format == "json":
        texts = [{"name": name, "text": text} for name, text in exported.texts.items()]
        answer = {"to": arguments.to, "paths": paths, "texts": texts, **problems_json(problems)}
        print(json.dumps(answer, indent=2))  # noqa: T201
    else:
        _print(paths, None if output else "\n".join(exported.texts.values()), arguments.to)
        print_problems(problems, "human", file=sys.stderr)
    return max((CODES[problem.code].exit_status for problem in problems if problem.severity == "error"), default=0)


def _print(paths: list[str], text: str | None, target: str) -> None:
    """The paths that were written, or the text where it goes to the standard output."""
    from recipe_runner.report.escape import Written, inert, visible  # noqa: PLC0415

    sys.stdout.write("".join(f"{path}\n" for path in paths) if text is None else Written(text))
    # The other formats have escapes of their own.
    if text is not None and target == "a1111" and inert(visible(text)) != text:
        sys.stderr.write("some characters are shown as escapes here; -o writes the texts as they are\n")


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

    hint = "`recipe-runner export-adapter` writes a LoRA or merge as a file that plain diffusers loads"
    wrong = [
        Problem(
            code="E860", message=sentence, place=Place(path), hint=hint if any(w in sentence for w in _WRITABLE) else ""
        )
        for sentence in exported.wrong
    ]
    notes = [
        Problem(code="W851", message=sentence, place=Place(path), severity="warning") for sentence in exported.notes
    ]
    return [*wrong, *notes]


def _write(exported: Exported, output: Path, *, force: bool) -> list[str]:
    from recipe_runner.cli.files import write_new  # noqa: PLC0415

    into = output.is_dir() or len(exported.texts) > 1
    paths = [output / name if into else output for name in exported.texts]
    for path, text in zip(paths, exported.texts.values(), strict=True):
        write_new(path, text, force=force, make_folder=into)
    return [path.as_posix() for path in paths]
