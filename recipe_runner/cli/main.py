"""The command line: one table of commands, and the one door through which errors leave.

Only the module of the command that was typed is imported, and each imports what it needs when it runs, so that
`validate` stays quick and nothing but making pictures ever imports torch.
"""

from __future__ import annotations

import argparse
import gc
import sys
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from recipe_runner.problems.codes import CODES, INTERRUPTED, USAGE
from recipe_runner.problems.problem import Problem, RecipeRunnerError, RecordError
from recipe_runner.report.escape import safe_streams
from recipe_runner.report.terminal.streams import OutputLost, guarded
from recipe_runner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "validate": "find every mistake in recipes, without touching a model",
    "plan": "say which images a recipe makes, what is made already, and why the rest is not",
    "run": "make a recipe's images",
    "diff": "say what differs between two recipes, locks or runs, by meaning, and which images that changes",
    "export": "write a recipe as a diffusers script, a ComfyUI graph, or A1111's text",
    "import": "write a recipe from a picture or text of another program",
    "inspect": "say what weights files are, from their headers alone",
    "lock": "pin every source of a recipe to its commit and its files' digests",
    "fetch": "bring everything that a recipe needs onto this machine",
    "report": "show recorded runs on one page: contact sheet, comparison, recipe, build graph, timings",
    "verify": "check a run: its files, its inputs, and its images made again",
    "export-adapter": "write a LoRA or merge of a recipe as a file that plain diffusers loads",
    "log": "log runs to MLflow, with parameters, digests and pictures",
    "runs": "list runs, and show the images of one with their parameters and digests",
    "manifest": "print a run's manifest, also as an in-toto Statement or an RO-Crate",
    "gc": "delete stored pictures that no run uses, and downloads that nobody used for long",
    "init": "write a commented starter recipe",
    "doctor": "show versions, devices and determinism, and prove that an image comes out twice the same",
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

exit status: 0 done; 1 the answer is no (invalid, differs); 2 wrong usage; 3 could not be done (missing, broken, no
such device, out of memory); 4 a bug; 130 interrupted. Results go to stdout, everything else to stderr.
"""


class Command(Protocol):
    """What the module of a command has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the command, its options and examples."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it, and return the exit status."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that keeps the layout of examples and says how to get help."""

    def __init__(self, **options: object) -> None:
        """Keep line breaks in descriptions; refuse abbreviations, which would break when an option is added."""
        super().__init__(
            **options,  # type: ignore[arg-type]
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    commands: dict[str, Parser]
    """The parser of each command, of the whole command line's."""

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Say what of the command line is not understood, and what was probably meant."""
        from recipe_runner.problems.suggest import nearest  # noqa: PLC0415 - only where someone mistyped

        options = [option for option in self._option_string_actions if option.startswith("--")]
        first = unknown[0].partition("=")[0]
        meant = nearest(first, options) if first.startswith("-") else None
        self.error(f"unrecognized arguments: {' '.join(unknown)}" + (f" (did you mean {meant}?)" if meant else ""))

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with 2."""
        typed, _, choices = message.partition("invalid choice: '")[2].partition("' (choose from ")
        if choices:
            from recipe_runner.problems.suggest import nearest  # noqa: PLC0415 - only where someone mistyped

            meant = nearest(typed, [choice.strip("'") for choice in choices.rstrip(")").split(", ")])
            message += f"; did you mean {meant}?" if meant else ""
        self.exit(USAGE, f"{self.prog}: {message}\nTry `{self.prog} --help`.\n")


def command(name: str) -> Command:
    """The module of a command."""
    # No module can be called `import`, or have a hyphen.
    return cast("Command", import_module(f"recipe_runner.cli.{name.replace('-', '_')}{'_' * iskeyword(name)}"))


def build_parser(only: str | None = None) -> Parser:
    """The parser of the whole command line; with `only`, other commands get no options (and are not imported)."""
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
    # A plan of many images is a great many small objects that stay: looking them through again and again for garbage
    # takes a tenth of its time.
    gc.set_threshold(100_000, 20, 100)
    words = list(sys.argv[1:] if argv is None else argv)
    with guarded(), safe_streams():
        try:
            try:
                return _answer(words)
            finally:
                sys.stdout.flush()
        except OutputLost as lost:
            # The reader of our output went away (`| head`): it has what it wanted.
            return 0 if isinstance(lost.error, BrokenPipeError) else _tell(_lost(lost), "human")


def _answer(words: list[str]) -> int:
    """Run the command that `words` name, and return the exit status."""
    typed = next((word for word in words if not word.startswith("-")), "")
    parser = build_parser(typed)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        parser.commands[arguments.command].refuse(unknown)
    try:
        # Without one, libraries end the process in ways of their own.
        Path.cwd()
        return command(arguments.command).run(arguments)
    except RecipeRunnerError as error:
        if arguments.debug:
            raise
        return _tell(error, getattr(arguments, "format", "human"))
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except OutputLost:
        raise
    except Exception as error:
        if arguments.debug:
            raise
        return _unforeseen(error, words, getattr(arguments, "format", "human"))


def _lost(lost: OutputLost) -> RecordError:
    message = f"cannot write the answer to standard output: {lost.error.strerror or lost.error}"
    hint = "What was made is kept. Repeat the command with its output going elsewhere: it says the answer again."
    return RecordError(Problem(code="E801", message=message, hint=hint))


def _unforeseen(error: Exception, words: list[str], output_format: str) -> int:
    """Show what an exception that no command foresaw means: the environment refuses, or there is a bug."""
    from recipe_runner.cli.environment import problem_of  # noqa: PLC0415 - only when there is one

    problem = problem_of(error)
    if problem is not None:
        return _tell(RecipeRunnerError(problem), output_format)
    from recipe_runner.cli.bug import report_bug  # noqa: PLC0415 - as above

    return _tell(RecipeRunnerError(report_bug(error, words)), output_format)


def _tell(error: RecipeRunnerError, output_format: str) -> int:
    """Show the problems of an error where its format wants them, and return the gravest exit status."""
    from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415 - only when there are some

    print_problems(error.problems, output_format)
    return max(CODES[problem.code].exit_status for problem in error.problems if problem.severity == "error")
