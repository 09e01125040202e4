"""The executor on operations that only count: what ran, what was freed, how failures are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from recipe_runner.graph.execute import execute
from recipe_runner.graph.graph import BuildGraph, Node
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import OperationFailed, Problem, ResolutionError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Log:
    """Remembers what it is told, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, node: Node) -> None:
        self.lines.append(f"start {node.operation}")

    def finished(self, node: Node) -> None:
        self.lines.append(f"end {node.operation}")

    def freed(self, node: Node) -> None:
        self.lines.append(f"free {node.operation}")


def concatenate(node: Node, inputs: Mapping[str, Any]) -> str:
    return f"{node.operation}({','.join(f'{name}={value}' for name, value in inputs.items())})"


def diamond() -> tuple[BuildGraph, str]:
    graph = BuildGraph()
    top = graph.add("top", 1)
    left = graph.add("left", 1, inputs={"t": top})
    right = graph.add("right", 1, inputs={"t": top})
    return graph, graph.add(
        "join", 1, inputs={"a": left, "b": right}, origin=Place("r.yaml", 4, 3, source_line="  x: 1")
    )


def test_a_diamond_runs_its_top_once_and_frees_after_last_use() -> None:
    graph, bottom = diamond()
    saved: list[str] = []
    log = Log()

    def join(node: Node, inputs: Mapping[str, Any]) -> None:
        saved.append(concatenate(node, inputs))

    execute(graph, [bottom], {"top": concatenate, "left": concatenate, "right": concatenate, "join": join}, log)
    assert saved == ["join(a=left(t=top()),b=right(t=top()))"]
    assert log.lines == [
        "start top", "end top", "start left", "end left", "start right", "end right", "free top",
        "start join", "end join", "free left", "free right",
    ]  # fmt: skip


def test_a_failure_is_placed_at_the_recipe_line_and_keeps_its_cause() -> None:
    graph, bottom = diamond()

    def fail(node: Node, inputs: Mapping[str, Any]) -> None:
        raise ZeroDivisionError(node.operation, inputs)

    operations = {"top": concatenate, "left": concatenate, "right": concatenate, "join": fail}
    with pytest.raises(OperationFailed) as caught:
        execute(graph, [bottom], operations)
    (problem,) = caught.value.problems
    assert (problem.code, problem.path, problem.line, problem.column) == ("E704", "r.yaml", 4, 3)
    assert problem.message.startswith("join failed: ZeroDivisionError: ")
    cause = caught.value.__cause__
    assert isinstance(cause and cause.__cause__, ZeroDivisionError)


def test_an_expected_error_keeps_its_type_and_its_own_place() -> None:
    graph, bottom = diamond()

    def fail(_node: Node, _inputs: Mapping[str, Any]) -> None:
        raise ResolutionError(
            Problem(code="E401", message="gone"), Problem(code="E401", message="b", place=Place("x", 1))
        )

    with pytest.raises(ResolutionError) as caught:
        execute(graph, [bottom], {"top": concatenate, "left": concatenate, "right": concatenate, "join": fail})
    assert [(p.path, p.line) for p in caught.value.problems] == [("r.yaml", 4), ("x", 1)]


def test_what_is_finished_before_a_failure_is_kept() -> None:
    graph = BuildGraph()
    outputs = [graph.add("save", 1, constants={"n": n}) for n in range(3)]
    saved: list[Any] = []

    def save(node: Node, inputs: Mapping[str, Any]) -> None:
        if node.constants["n"] == 1:
            raise OSError(inputs)
        saved.append(node.constants["n"])

    with pytest.raises(OperationFailed):
        execute(graph, outputs, {"save": save})
    assert saved == [0]
