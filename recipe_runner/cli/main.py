"""The command line: the table of commands, and the one place that turns errors into messages and exit statuses.

Only the module of the requested command is imported, and each command imports what it needs when it runs. So `validate`
stays fast, and torch is imported only to make images.
"""

from __future__ import annotations

import argparse
import gc
import sys
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from recipe_runner.cli.output import exit_status
from recipe_runner.problems.codes import INTERRUPTED, USAGE
from recipe_runner.problems.problem import Problem, RecipeRunnerError, RecordError
from recipe_runner.report.escape import safe_streams
from recipe_runner.report.terminal.streams import OutputLost, guarded
from recipe_runner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "validate": "find every mistake in recipes, without loading a model",
    "plan": "show which images a recipe makes, which of them exist already, and why the others do not",
    "run": "make the images of a recipe",
    "diff": "compare two recipes, locks or runs by meaning, and show which images change",
    "export": "write a recipe as a diffusers script, a ComfyUI graph, or A1111 parameters",
    "import": "write a recipe from an image or text of another program",
    "inspect": "identify weights files from their headers alone",
    "lock": "pin every source of a recipe to its commit and the sha256 of its files",
    "fetch": "download everything that a recipe needs",
    "report": "write one page for one or more runs: contact sheet, comparison, recipe, build graph, timings",
    "verify": "check the files and inputs of a run, and make its images again to compare",
    "export-adapter": "write a LoRA or merge of a recipe as a file that plain diffusers loads",
    "log": "log runs to MLflow, with parameters, digests and images",
    "runs": "list runs, or show the images of one run with their parameters and digests",
    "manifest": "print the manifest of a run, also as an in-toto Statement or an RO-Crate",
    "gc": "delete stored images that no run uses, and downloads that were not used for a while",
    "init": "write a commented starter recipe",
    "doctor": "show versions, devices and determinism, and check that an image can be reproduced exactly",
    "guide": "print a page of the guide: tutorials, how-to guides, reference, explanation",
    "explain": "explain a problem code",
    "schema": "print or write the JSON Schemas that editors use",
    "completion": "print a completion script for a shell",
}

DESCRIPTION = "Run declarative YAML recipes for diffusion pipelines, reproducibly."
EPILOG = """\
examples:
  recipe-runner init my-recipe.yaml
  recipe-runner validate recipes/
  recipe-runner plan recipes/quickstart.yaml
  recipe-runner run recipes/quickstart.yaml --set sampling.num_inference_steps=10

exit status: 0 success; 1 invalid, stale or different; 2 wrong usage; 3 failed (a file is missing or broken, no network,
no such device, out of memory); 4 a bug in recipe-runner; 130 interrupted. Results go to stdout, all else to stderr.
"""


class Command(Protocol):
    """The interface of a command's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the command, its options and examples."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command, and return the exit status."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that keeps the layout of examples and suggests corrections."""

    def __init__(self, **options: object) -> None:
        """Keep line breaks in help texts; refuse abbreviations, which would break when an option is added."""
        super().__init__(
            **options,  # type: ignore[arg-type]
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    commands: dict[str, Parser]
    """The parser of each command; only the top parser has it."""

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Exit with a message about unknown arguments, and suggest the most similar option."""
        from recipe_runner.problems.suggest import nearest  # noqa: PLC0415 - only where someone mistyped

        options = [option for option in self._option_string_actions if option.startswith("--")]
        first = unknown[0].partition("=")[0]
        message = f"unrecognized arguments: {' '.join(unknown)}"
        if first.startswith("-"):
            meant = nearest(first, options)
            if meant is not None:
                message += f" (did you mean {meant}?)"
        self.error(message)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and exit with status 2."""
        typed, _, choices = message.partition("invalid choice: '")[2].partition("' (choose from ")
        if choices:
            from recipe_runner.problems.suggest import nearest  # noqa: PLC0415 - only where someone mistyped

            meant = nearest(typed, [choice.strip("'") for choice in choices.rstrip(")").split(", ")])
            if meant is not None:
                message += f"; did you mean {meant}?"
        self.exit(USAGE, f"{self.prog}: {message}\nTry `{self.prog} --help`.\n")


def command(name: str) -> Command:
    """The module of a command."""
    # A module cannot be called `import`, and its name cannot have a hyphen.
    return cast("Command", import_module(f"recipe_runner.cli.{name.replace('-', '_')}{'_' * iskeyword(name)}"))


def build_parser(only: str | None = None) -> Parser:
    """The parser of the command line; with `only`, the other commands get no options and are not imported."""
    parser = Parser(prog="recipe-runner", description=DESCRIPTION, epilog=EPILOG)
    parser.commands = {}
    parser.add_argument("--version", action="version", version=f"recipe-runner {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        parser.commands[name] = subparser
        if only in (None, name):
            subparser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
            command(name).add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    # A plan of many images is very many small objects that all stay alive: with the default thresholds, garbage
    # collection takes a tenth of the time.
    gc.set_threshold(100_000, 20, 100)
    words = list(sys.argv[1:] if argv is None else argv)
    with guarded(), safe_streams():
        try:
            try:
                return _answer(words)
            finally:
                sys.stdout.flush()
        except OutputLost as lost:
            # A reader that closes the pipe early (`| head`) has what it wants.
            if isinstance(lost.error, BrokenPipeError):
                return 0
            return _report(_lost(lost), "human")


def _answer(words: list[str]) -> int:
    """Run the command in `words`, and return the exit status."""
    typed = next((word for word in words if not word.startswith("-")), "")
    parser = build_parser(typed)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        parser.commands[arguments.command].refuse(unknown)
    try:
        # Without a working directory, some libraries crash with messages of their own.
        Path.cwd()
        return command(arguments.command).run(arguments)
    except RecipeRunnerError as error:
        if arguments.debug:
            raise
        return _report(error, getattr(arguments, "format", "human"))
    except KeyboardInterrupt:
        print("interrupted; finished work is kept", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except OutputLost:
        raise
    except Exception as error:
        if arguments.debug:
            raise
        return _unexpected(error, words, getattr(arguments, "format", "human"))


def _lost(lost: OutputLost) -> RecordError:
    message = f"cannot write to standard output: {lost.error.strerror or lost.error}"
    hint = "Finished work is kept. Run the command again with its output redirected elsewhere."
    return RecordError(Problem(code="E801", message=message, hint=hint))


def _unexpected(error: Exception, words: list[str], output_format: str) -> int:
    """Report an exception that no command handles: a problem of the environment, or a bug."""
    from recipe_runner.cli.environment import problem_of  # noqa: PLC0415 - only needed here

    problem = problem_of(error)
    if problem is not None:
        return _report(RecipeRunnerError(problem), output_format)
    from recipe_runner.cli.bug import report_bug  # noqa: PLC0415 - as above

    return _report(RecipeRunnerError(report_bug(error, words)), output_format)


def _report(error: RecipeRunnerError, output_format: str) -> int:
    """Print the problems of an error in a format, and return the exit status."""
    from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415 - only when there are some

    print_problems(error.problems, output_format)
    return exit_status(error.problems)
