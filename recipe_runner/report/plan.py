"""A plan as text, JSON, Mermaid or DOT."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from recipe_runner.canonical import Json
from recipe_runner.graph.graph import Node
from recipe_runner.plan.checks.memory import Weights, gib, weights_memory
from recipe_runner.plan.compile import Plan
from recipe_runner.plan.operations import OPERATIONS
from recipe_runner.plan.resolved import ResolvedAdapter
from recipe_runner.record.state import State
from recipe_runner.report.escape import dot, mermaid, one_line
from recipe_runner.sources.missing import Unresolved
from recipe_runner.sources.source import Source

LISTED = 20
"""Images that the text lists before it counts the rest."""
LABEL = 60


def plan_text(plan: Plan, state: State, *, every: bool = False) -> str:
    """The plan for a person; `every` lists each image."""
    return "".join(f"{one_line(line)}\n" for line in _lines(plan, state, every=every))


def _lines(plan: Plan, state: State, *, every: bool) -> Iterator[str]:
    recipe = plan.recipe
    total = len(plan.images)
    variants, first = len(recipe.variants), recipe.variants[0]
    shape = f"{variants} variant{'s' * (variants != 1)}, {len(first.prompts)} prompt{'s' * (len(first.prompts) != 1)}"
    yield f"recipe {recipe.name}: {total} image{'s' * (total != 1)} ({shape})"
    if missing := [role for role, source in plan.sources().items() if not isinstance(source, Source)]:
        yield f"provisional: not on this machine yet: {', '.join(missing)}"
        yield from _to_bring(plan)
    else:
        yield f"plan {plan.digest[:12]}, run folder {state.folder.as_posix()}"
    yield ""
    yield "sources"
    for role, source in plan.sources().items():
        yield f"  {role}: {source.address}{_size(source)}"
    if adapters := list(adapters_of(plan).values()):
        yield "adapters"
        for adapter in adapters:
            members = [each.name for each in adapter.with_members()[:-1]]
            merged = f" (merge of {', '.join(members)})" if members else ""
            yield f"  adapter {adapter.name}{merged}: {landing_text(adapter)}{_tokens_text(adapter)}"
    for weights in memory_of(plan):
        parts = ", ".join(f"{name} {gib(size)}" for name, size in weights.components.items())
        yield f"weights in memory: {gib(weights.total)} in {weights.dtype} ({parts})"
    yield "operations"
    for operation, count in operations_of(plan).items():
        yield f"  {operation}: {count}"
    yield f"images: {state.made} made, {total - state.made} to make"
    shown = total if every else LISTED
    for image, reason in list(zip(plan.images, state.reasons, strict=True))[:shown]:
        yield f"  {image.path}: {'made' if reason is None else f'to make: {reason}'}"
    if total > shown:
        yield f"  … and {total - shown} more (--verbose lists all)"


def _to_bring(plan: Plan) -> Iterator[str]:
    """What is missing and no command fetches, with how a person brings it."""
    found = [source for source in plan.sources().values() if isinstance(source, Unresolved) and not source.is_fetched]
    yield from dict.fromkeys(f"{source.problem.message}: {source.problem.hint}" for source in found)


def memory_of(plan: Plan) -> list[Weights]:
    """The memory that the weights of each base take with its first variant's adapters, where headers tell it."""
    first = {variant.base.number: variant for variant in reversed(plan.recipe.variants)}
    found = [weights_memory(variant) for variant in reversed(first.values())]
    return [weights for weights in found if weights is not None]


def plan_json(plan: Plan, state: State) -> str:
    """The plan as one JSON object."""
    return json.dumps(_tree(plan, state), indent=2) + "\n"


def _tree(plan: Plan, state: State) -> Json:
    sources = plan.sources()
    return {
        "name": plan.recipe.name,
        "plan_digest": plan.digest,
        "provisional": not all(isinstance(source, Source) for source in sources.values()),
        "run_folder": state.folder.as_posix(),
        "sources": [
            {"role": role, "address": source.address, "digest": source.digest} for role, source in sources.items()
        ],
        "adapters": [
            {"name": adapter.name, "kind": adapter.kind, "tensors": adapter.tensors, "tokens": adapter.tokens}
            for adapter in adapters_of(plan).values()
        ],
        "weights": [
            {"dtype": weights.dtype, "bytes": weights.total, "components": dict(weights.components)}
            for weights in memory_of(plan)
        ],
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
        "nodes": [
            {
                "key": node.key,
                "operation": node.operation,
                "version": node.version,
                "constants": node.constants,
                "inputs": node.inputs,
                "files": node.files,
            }
            for node in plan.graph
        ],
    }


def plan_mermaid(plan: Plan) -> str:
    """The build graph as a Mermaid flowchart."""
    lines = ["flowchart LR", *(f'  n{node.key[:12]}["{mermaid(label_of(node))}"]' for node in plan.graph)]
    lines += [
        f"  n{key[:12]} -->|{mermaid(name)}| n{node.key[:12]}" for node in plan.graph for name, key in _edges(node)
    ]
    return "\n".join(lines) + "\n"


def plan_dot(plan: Plan) -> str:
    """The build graph in Graphviz's DOT language."""
    lines = ["digraph plan {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{node.key[:12]}" [label="{dot(label_of(node))}"];' for node in plan.graph]
    lines += [
        f'  "{key[:12]}" -> "{node.key[:12]}" [label="{dot(name)}"];'
        for node in plan.graph
        for name, key in _edges(node)
    ]
    return "\n".join([*lines, "}"]) + "\n"


def operations_of(plan: Plan) -> dict[str, int]:
    """How many different nodes of each operation there are, in the order of the graph."""
    count: dict[str, int] = {}
    for node in plan.graph:
        count[node.operation] = count.get(node.operation, 0) + 1
    return count


def adapters_of(plan: Plan) -> dict[str, ResolvedAdapter]:
    """Adapters by name, in order; of one whose source an axis changes, the first."""
    found: dict[str, ResolvedAdapter] = {}
    for variant in plan.recipe.variants:
        for adapter in variant.adapters:
            found.setdefault(adapter.name, adapter)
    return found


def landing_text(adapter: ResolvedAdapter) -> str:
    """`20 of 24 tensors, unet 20`: four are for a text encoder, and the adapter's `target` is the UNet."""
    tensors = adapter.tensors
    if tensors is None:
        sources = [source for each in adapter.with_members() for source in each.sources.values()]
        here = all(isinstance(source, Source) for source in sources)
        return "where they land is known once the base is loaded" if here else "not on this machine yet"
    landed = sum(tensors.values())
    # What several modules share, and a merge of several files, is counted once for each.
    total = max(landed, adapter.layout.tensor_count if adapter.layout is not None else 0)
    return f"{landed} of {total} tensors, {', '.join(f'{name} {count}' for name, count in tensors.items())}"


def _tokens_text(adapter: ResolvedAdapter) -> str:
    """`; token <cat> (2 vectors)`, or nothing."""
    counts = {token: max(parts.values()) for token, parts in adapter.tokens.items() if parts}
    said = [f"{token} ({count} vector{'s' * (count != 1)})" for token, count in counts.items()]
    return f"; token{'s' * (len(said) != 1)} {', '.join(said)}" if said else ""


def _edges(node: Node) -> list[tuple[str, str]]:
    return list(node.inputs.items())


def label_of(node: Node) -> str:
    """A short line on one node: its operation and the constant that tells it from its siblings."""
    label = OPERATIONS[node.operation].label
    told: Json = node.constants if label else None
    for name in label:
        told = told.get(name) if isinstance(told, Mapping) else None
    text = node.operation if told is None else f"{node.operation} {json.dumps(told, ensure_ascii=False)}"
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"


def _size(source: object) -> str:
    if not isinstance(source, Source):
        return " (not on this machine)"
    count = len(source.files)
    mebibytes = sum(file.size for file in source.files) / 2**20
    files = f"{count} files, " if count > 1 else ""
    return f" ({files}{mebibytes:.1f} MiB, {source.digest[:12]})"
