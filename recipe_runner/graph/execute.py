"""Execute a build graph in this process: each node once, in a stable order, values freed after their last use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from recipe_runner.graph.graph import BuildGraph, Node, uses
from recipe_runner.problems.problem import OperationFailed, RecipeRunnerError

_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch's errors of the devices say; they have no class of their own that can be named without torch."""

Operation = Callable[[Node, Mapping[str, Any]], Any]
"""Takes a node and the values of its inputs by name, and returns the node's value."""


class Observer(Protocol):
    """What is told of an execution while it goes on."""

    def started(self, node: Node) -> None:
        """The node is about to run."""

    def finished(self, node: Node) -> None:
        """The node has run."""

    def freed(self, node: Node) -> None:
        """The node's value was used for the last time and has been let go."""


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
    """Run what `outputs` need. The operations of the outputs keep their results themselves (they save).

    Raises:
        RecipeRunnerError: the first failure, placed at the failing node's line of the recipe. What was finished before
            it is kept.
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
    """One operation; a failure without a place is placed where the recipe has the node."""
    try:
        with boundary(node.operation):
            return operation(node, inputs)
    except RecipeRunnerError as error:
        raise error.at(node.origin) from error


@contextmanager
def boundary(name: str) -> Iterator[None]:
    """Run a block as the operation called `name`: whatever it raises becomes a problem that a person can act on.

    Raises:
        OperationFailed: E703 when memory ran out, E704 for anything else that a library, or a mistake here, raised.
    """
    try:
        yield
    except RecipeRunnerError:
        raise
    except Exception as error:
        # The libraries raise anything, from KeyError to RuntimeError, for a thousand reasons.
        said = str(error).strip().splitlines()
        if _is_out_of_memory(error):
            raise OperationFailed.of(
                "E703",
                f"{name} ran out of memory ({said[0] if said else 'no details'})",
                "make the images smaller, set base.dtype: float16 on a GPU, lower runtime.batch_size, "
                "or free the device of other programs",
            ) from error
        message = f"{name} failed: {type(error).__name__}: {said[0] if said else 'no reason given'}"
        hint = "run again with --debug to see where; what was finished is kept"
        raise OperationFailed.of("E704", message, hint) from error


def _is_out_of_memory(error: Exception) -> bool:
    # torch's own class cannot be named without importing torch.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in _MEMORY_WORDS)
