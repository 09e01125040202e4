"""The operations of the build graph: one table of their names, versions, constants, inputs and files.

The compiler adds nodes with it, and the runtime has a function for each operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recipe_runner.canonical import Json
from recipe_runner.graph.graph import BuildGraph
from recipe_runner.plan.resolved import ResolvedIpAdapter, ResolvedLora, ResolvedMerge, ResolvedTextualInversion
from recipe_runner.problems.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation. Its version is raised when its result changes, so that old results are not reused.

    `constants`, `inputs` and `files` are the names that its nodes may have; a name that ends in `.*` or `[*]` may occur
    any number of times. `label` is the path of the constant that distinguishes its nodes for people.
    """

    name: str
    version: int
    constants: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    label: tuple[str, ...] = ()

    def add_to(
        self,
        graph: BuildGraph,
        *,
        constants: Mapping[str, Json] | None = None,
        inputs: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        origin: Place,
    ) -> str:
        """Add a node of this operation to `graph`, unless the graph has an equal one, and return its key."""
        return graph.add(self.name, self.version, constants=constants, inputs=inputs, files=files, origin=origin)


LOAD_BASE = Operation(
    name="load_base",
    version=1,
    constants=("pipeline", "dtype", "variant", "single_file", "scheduler", "components"),
    files=("base", "config", "components.*"),
)
ADD_LORA = Operation(
    name="add_lora", version=4, constants=ResolvedLora.OPTIONS, inputs=("model",), files=("weights", "config")
)
ADD_TEXTUAL_INVERSION = Operation(
    name="add_textual_inversion",
    version=1,
    constants=ResolvedTextualInversion.OPTIONS,
    inputs=("model",),
    files=("weights",),
)
MERGE_LORAS = Operation(
    name="merge_loras",
    version=3,
    constants=("scales", *ResolvedMerge.OPTIONS),
    inputs=("model", "member.*"),
)
ADD_IP_ADAPTER = Operation(
    name="add_ip_adapter",
    version=2,
    constants=ResolvedIpAdapter.OPTIONS,
    inputs=("model",),
    files=("weights", "mask", "mask[*]"),
)
SET_SCALES = Operation(name="set_scales", version=1, constants=("scales",), inputs=("model",), label=("scales",))
ENCODE_PROMPT = Operation(
    name="encode_prompt",
    version=1,
    constants=("texts", "guided", "clip_skip", "max_sequence_length"),
    inputs=("model",),
    label=("texts", "prompt"),
)
ENCODE_IMAGE = Operation(
    name="encode_image",
    version=1,
    constants=("paired", "features", "faces", "patches", "image_encoder"),
    files=("image[*]", "image_embeds[*]", "image_encoder", "faces"),
)
DENOISE = Operation(
    name="denoise",
    version=1,
    constants=("seeds", "sampling", "reproducibility"),
    inputs=("model", "conditioning.*", "image.*"),
    label=("seeds",),
)
DECODE = Operation(name="decode", version=1, constants=("index",), inputs=("model", "latents"))
SAVE = Operation(name="save", version=1, constants=("format", "quality"), inputs=("picture",))

ADDS = {
    ResolvedLora.kind: ADD_LORA,
    ResolvedTextualInversion.kind: ADD_TEXTUAL_INVERSION,
    ResolvedMerge.kind: MERGE_LORAS,
    ResolvedIpAdapter.kind: ADD_IP_ADAPTER,
}
"""The operation that adds an adapter to a model handle, by the adapter's kind."""

OPERATIONS = {
    operation.name: operation
    for operation in (
        LOAD_BASE, *ADDS.values(), SET_SCALES, ENCODE_PROMPT, ENCODE_IMAGE, DENOISE, DECODE, SAVE,
    )
}  # fmt: skip
"""All operations by name."""
