"""Execute a build graph in this process: each node once, in a stable order, values freed after their last use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from recipe_runner.graph.graph import BuildGraph, Node, uses
from recipe_runner.problems.problem import OperationFailed, Problem, RecipeRunnerError

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
    """One operation, at the boundary where any failure becomes a located one."""
    try:
        return operation(node, inputs)
    except RecipeRunnerError as error:
        raise error.at(node.origin) from error
    except Exception as error:
        message = f"operation `{node.operation}` failed: {type(error).__name__}: {error}"
        hint = "run again with --debug to see where; what was finished is kept"
        raise OperationFailed(Problem.at(node.origin, "E790", message, hint)) from error
