"""Execute a build graph in this process: each node once, in a stable order, values freed after their last use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from recipe_runner.graph.graph import BuildGraph, Node, uses
from recipe_runner.problems.problem import OperationFailed, RecipeRunnerError

_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Texts of torch's memory errors, whose classes cannot be named without importing torch."""

Operation = Callable[[Node, Mapping[str, Any]], Any]
"""Takes a node and the values of its inputs by name, and returns the node's value."""


class Observer(Protocol):
    """Receives the progress of an execution."""

    def started(self, node: Node) -> None:
        """The node is about to run."""

    def finished(self, node: Node) -> None:
        """The node has run."""

    def freed(self, node: Node) -> None:
        """The node's value was used for the last time and has been freed."""


class Silent:
    """An observer that does nothing."""

    def started(self, node: Node) -> None:
        """Ignore it."""

    def finished(self, node: Node) -> None:
        """Ignore it."""

    def freed(self, node: Node) -> None:
        """Ignore it."""


def execute(
    graph: BuildGraph,
    outputs: Iterable[str],
    operations: Mapping[str, Operation],
    observer: Observer | None = None,
) -> None:
    """Run all nodes that `outputs` need. The operations of the outputs save their results themselves.

    Raises:
        RecipeRunnerError: the first failure, at the line of the failing node in the recipe. Results finished before it
            are kept.
    """
    observer = observer or Silent()
    order = graph.order(outputs)
    remaining = uses(order)
    values: dict[str, Any] = {}
    for node in order:
        observer.started(node)
        inputs = {name: values[key] for name, key in node.inputs.items()}
        value = _run(operations[node.operation], node, inputs)
        observer.finished(node)
        if remaining.get(node.key):
            values[node.key] = value
        del value, inputs
        for key in node.inputs.values():
            remaining[key] -= 1
            if not remaining[key] and key in values:
                del values[key]
                observer.freed(graph[key])


def _run(operation: Operation, node: Node, inputs: Mapping[str, Any]) -> Any:
    """Run one operation; a failure without a place gets the place of the node in the recipe."""
    try:
        with boundary(node.operation):
            return operation(node, inputs)
    except RecipeRunnerError as error:
        raise error.at(node.origin) from error


@contextmanager
def boundary(name: str) -> Iterator[None]:
    """Run a block as the operation called `name`, and turn every exception into a problem that a person can act on.

    Raises:
        OperationFailed: E703 out of memory, E704 for any other exception of a library or of this package.
    """
    try:
        yield
    except RecipeRunnerError:
        raise
    except Exception as error:
        # The libraries raise exceptions of all types for all kinds of reasons.
        if _is_out_of_memory(error):
            raise OperationFailed.of(
                "E703",
                f"{name} ran out of memory ({_first_line(error, 'no details')})",
                "make the images smaller, set base.dtype: float16 on a GPU, lower runtime.batch_size, "
                "or free the device of other programs",
            ) from error
        message = f"{name} failed: {type(error).__name__}: {_first_line(error, 'no reason given')}"
        hint = "run again with --debug to see where; finished images are kept"
        raise OperationFailed.of("E704", message, hint) from error


def _first_line(error: Exception, otherwise: str) -> str:
    """The first line of an exception's text, or `otherwise` for an exception without a text."""
    lines = str(error).strip().splitlines()
    if not lines:
        return otherwise
    return lines[0]


def _is_out_of_memory(error: Exception) -> bool:
    # torch's own class cannot be named without importing torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(error) for words in _MEMORY_WORDS)
