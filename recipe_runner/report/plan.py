"""A plan as text, JSON, Mermaid or DOT."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain

from recipe_runner.canonical import Json
from recipe_runner.graph.graph import Node
from recipe_runner.plan.checks.memory import Weights, gib, weights_memory
from recipe_runner.plan.compile import Plan
from recipe_runner.plan.operations import OPERATIONS
from recipe_runner.plan.resolved import ResolvedAdapter
from recipe_runner.problems.wording import counted
from recipe_runner.record.state import State
from recipe_runner.report.escape import dot, mermaid
from recipe_runner.report.text import amounts, shortened, text_of
from recipe_runner.sources.missing import Unresolved
from recipe_runner.sources.source import Source

LISTED = 20
"""How many images the text lists before it counts the rest."""
LABEL = 60


def plan_text(plan: Plan, state: State, *, every: bool = False) -> str:
    """The plan for a person; `every` lists each image."""
    return text_of(_lines(plan, state, every=every))


def _lines(plan: Plan, state: State, *, every: bool) -> Iterator[str]:
    yield from _heading(plan, state)
    yield ""
    yield "sources"
    for role, source in plan.sources().items():
        yield f"  {role}: {source.address}{_size(source)}"
    adapters = adapters_of(plan)
    if adapters:
        yield "adapters"
        for adapter in adapters.values():
            yield f"  adapter {adapter.name}{_merged(adapter)}: {matched_text(adapter)}{_tokens_text(adapter)}"
    for weights in memory_of(plan):
        sizes = {name: gib(size) for name, size in weights.components.items()}
        yield f"weights in memory: {gib(weights.total)} in {weights.dtype} ({amounts(sizes)})"
    yield "operations"
    for operation, count in operations_of(plan).items():
        yield f"  {operation}: {count}"
    yield from _images(plan, state, every=every)


def _heading(plan: Plan, state: State) -> Iterator[str]:
    """What the recipe makes, and where; or which sources are missing."""
    recipe = plan.recipe
    shape = f"{counted(len(recipe.variants), 'variant')}, {counted(len(recipe.variants[0].prompts), 'prompt')}"
    yield f"recipe {recipe.name}: {counted(len(plan.images), 'image')} ({shape})"
    missing = _missing(plan)
    if missing:
        yield f"provisional: not on this machine yet: {', '.join(missing)}"
        yield from _to_provide(plan)
    else:
        yield f"plan {plan.digest[:12]}, run folder {state.folder.as_posix()}"


def _missing(plan: Plan) -> list[str]:
    """The roles of the sources that are not on this machine."""
    return [role for role, source in plan.sources().items() if not isinstance(source, Source)]


def _to_provide(plan: Plan) -> Iterator[str]:
    """The missing sources that no command can download, with how to provide each."""
    lines: dict[str, None] = {}
    for source in plan.sources().values():
        if isinstance(source, Unresolved) and not source.is_fetched:
            lines[f"{source.problem.message}: {source.problem.hint}"] = None
    yield from lines


def _merged(adapter: ResolvedAdapter) -> str:
    """` (merge of film, grain)`, or nothing."""
    members = [each.name for each in adapter.with_members()[:-1]]
    return f" (merge of {', '.join(members)})" if members else ""


def _images(plan: Plan, state: State, *, every: bool) -> Iterator[str]:
    total = len(plan.images)
    yield f"images: {state.made} made, {total - state.made} to make"
    shown = total if every else LISTED
    for image, reason in zip(plan.images[:shown], state.reasons[:shown], strict=True):
        if reason is None:
            yield f"  {image.path}: made"
        else:
            yield f"  {image.path}: to make: {reason}"
    if total > shown:
        yield f"  … and {total - shown} more (--verbose lists all)"


def memory_of(plan: Plan) -> list[Weights]:
    """The memory for the weights of each base with the adapters of its first variant, if headers tell it."""
    first = {variant.base.number: variant for variant in reversed(plan.recipe.variants)}
    found = map(weights_memory, reversed(first.values()))
    return [weights for weights in found if weights is not None]


def plan_json(plan: Plan, state: State) -> str:
    """The plan as one JSON object."""
    return json.dumps(_tree(plan, state), indent=2) + "\n"


def _tree(plan: Plan, state: State) -> Json:
    sources = plan.sources()
    return {
        "name": plan.recipe.name,
        "plan_digest": plan.digest,
        "provisional": bool(_missing(plan)),
        "run_folder": state.folder.as_posix(),
        "sources": [
            {"role": role, "address": source.address, "digest": source.digest} for role, source in sources.items()
        ],
        "adapters": list(map(_adapter_tree, adapters_of(plan).values())),
        "weights": list(map(_weights_tree, memory_of(plan))),
        "operations": operations_of(plan),
        "made": state.made,
        "to_make": len(plan.images) - state.made,
        "images": [
            {
                "path": image.path,
                "variant": plan.recipe.variants[image.variant].values,
                "prompt": image.prompt,
                "seed": image.seed,
                "node_key": image.key,
                "state": "made" if reason is None else "to make",
                "reason": reason,
            }
            for image, reason in zip(plan.images, state.reasons, strict=True)
        ],
        "nodes": list(map(_node_tree, plan.graph)),
    }


def _adapter_tree(adapter: ResolvedAdapter) -> Json:
    return {"name": adapter.name, "kind": adapter.kind, "tensors": adapter.tensors, "tokens": adapter.tokens}


def _weights_tree(weights: Weights) -> Json:
    return {"dtype": weights.dtype, "bytes": weights.total, "components": dict(weights.components)}


def _node_tree(node: Node) -> Json:
    return {
        "key": node.key,
        "operation": node.operation,
        "version": node.version,
        "constants": node.constants,
        "inputs": node.inputs,
        "files": node.files,
    }


def plan_mermaid(plan: Plan) -> str:
    """The build graph as a Mermaid flowchart."""
    nodes, edges = [], []
    for node in plan.graph:
        nodes.append(f'  n{node.key[:12]}["{mermaid(label_of(node))}"]\n')
        for name, key in node.inputs.items():
            edges.append(f"  n{key[:12]} -->|{mermaid(name)}| n{node.key[:12]}\n")
    return "".join(["flowchart LR\n", *nodes, *edges])


def plan_dot(plan: Plan) -> str:
    """The build graph in Graphviz's DOT language."""
    nodes, edges = [], []
    for node in plan.graph:
        nodes.append(f'  "{node.key[:12]}" [label="{dot(label_of(node))}"];\n')
        for name, key in node.inputs.items():
            edges.append(f'  "{key[:12]}" -> "{node.key[:12]}" [label="{dot(name)}"];\n')
    return "".join(["digraph plan {\n", "  rankdir=LR;\n", "  node [shape=box];\n", *nodes, *edges, "}\n"])


def operations_of(plan: Plan) -> dict[str, int]:
    """The number of different nodes of each operation, in the order of the graph."""
    return dict(Counter(node.operation for node in plan.graph))


def adapters_of(plan: Plan) -> dict[str, ResolvedAdapter]:
    """Adapters by name, in order; if an axis changes the source of one, the first."""
    found: dict[str, ResolvedAdapter] = {}
    for variant in plan.recipe.variants:
        for adapter in variant.adapters:
            found.setdefault(adapter.name, adapter)
    return found


def matched_text(adapter: ResolvedAdapter) -> str:
    """`20 of 24 tensors, unet 20`: four are for a text encoder, and the adapter's `target` is the UNet."""
    tensors = adapter.tensors
    if tensors is None:
        if _is_here(adapter):
            return "how many tensors match is known once the base is loaded"
        return "not on this machine yet"
    matched = total = sum(tensors.values())
    if adapter.layout is not None:
        # Tensors that several modules share, or several members of a merge, count once for each.
        total = max(total, adapter.layout.tensor_count)
    return f"{matched} of {total} tensors, {amounts(tensors)}"


def _is_here(adapter: ResolvedAdapter) -> bool:
    """Whether all files of an adapter, and of the members of a merge, are on this machine."""
    sources = chain.from_iterable(each.sources.values() for each in adapter.with_members())
    return all(isinstance(source, Source) for source in sources)


def _tokens_text(adapter: ResolvedAdapter) -> str:
    """`; token <cat> (2 vectors)`, or nothing."""
    tokens = []
    for token, parts in adapter.tokens.items():
        if parts:
            tokens.append(f"{token} ({counted(max(parts.values()), 'vector')})")
    if not tokens:
        return ""
    if len(tokens) == 1:
        return f"; token {tokens[0]}"
    return f"; tokens {', '.join(tokens)}"


def label_of(node: Node) -> str:
    """A short line about a node: its operation and the constant that distinguishes it from similar nodes."""
    path = OPERATIONS[node.operation].label
    value: Json = node.constants
    for name in path:
        if not isinstance(value, Mapping):
            value = None
            break
        value = value.get(name)
    if value is None or not path:
        return node.operation
    return shortened(f"{node.operation} {json.dumps(value, ensure_ascii=False)}", LABEL)


def _size(source: object) -> str:
    if not isinstance(source, Source):
        return " (not on this machine)"
    count = len(source.files)
    mebibytes = sum(file.size for file in source.files) / 2**20
    size = f"{mebibytes:.1f} MiB, {source.digest[:12]}"
    if count > 1:
        return f" ({count} files, {size})"
    return f" ({size})"
