"""The build graph: frozen nodes with keys, in a stable order. It knows nothing of diffusion.

A node's key is the sha256 of everything that decides its result: operation, version, constants, the keys of its inputs
and the digests of its files. Equal nodes are one node. A node is added after its inputs, so a graph has no cycles, and
nodes can be executed in the order in which they were added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from recipe_runner.canonical import Json, digest
from recipe_runner.problems.place import NOWHERE, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An operation with its constants, named inputs (node keys) and files (role to digest)."""

    key: str
    operation: str
    version: int
    constants: Mapping[str, Json]
    inputs: Mapping[str, str]
    files: Mapping[str, str]
    origin: Place = field(compare=False)


class BuildGraph:
    """Nodes by key, in the order in which they were added."""

    def __init__(self) -> None:
        """Start without nodes."""
        self._nodes: dict[str, Node] = {}

    def __len__(self) -> int:
        """The number of nodes."""
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        """The nodes, inputs before the nodes that use them."""
        return iter(self._nodes.values())

    def __getitem__(self, key: str) -> Node:
        """The node with this key."""
        return self._nodes[key]

    def add(
        self,
        operation: str,
        version: int,
        *,
        constants: Mapping[str, Json] | None = None,
        inputs: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        origin: Place | None = None,
    ) -> str:
        """Add a node unless the graph has an equal one, and return its key.

        Raises:
            AssertionError: an input is not in the graph, which is a bug of the caller.
        """
        constants, inputs, files = constants or {}, inputs or {}, files or {}
        key = digest(
            {"operation": operation, "version": version, "constants": constants, "inputs": inputs, "files": files}
        )
        if key not in self._nodes:
            for name, input_key in inputs.items():
                if input_key not in self._nodes:
                    message = f"BUG: input {name} of {operation} is not in the graph"
                    raise AssertionError(message)
            self._nodes[key] = Node(
                key=key,
                operation=operation,
                version=version,
                constants=constants,
                inputs=inputs,
                files=files,
                origin=origin or NOWHERE,
            )
        return key

    def order(self, outputs: Iterable[str]) -> list[Node]:
        """The nodes that `outputs` need, and the outputs themselves: each right before its first use.

        The order follows the order of `outputs` and of each node's inputs. It is the same on every machine, and each
        value is made as late and freed as early as the order of the outputs allows.
        """
        done: dict[str, Node] = {}
        for output in outputs:
            stack = [output]
            while stack:
                node = self._nodes[stack[-1]]
                missing = [key for key in node.inputs.values() if key not in done]
                if node.key in done or not missing:
                    done.setdefault(node.key, node)
                    stack.pop()
                else:
                    stack.extend(reversed(missing))
        return list(done.values())


def uses(order: Iterable[Node]) -> dict[str, int]:
    """How many times each key is an input within `order`: a value may be freed after its last use."""
    count: dict[str, int] = {}
    for node in order:
        for key in node.inputs.values():
            count[key] = count.get(key, 0) + 1
    return count
