"""The modules of a resolved base that adapters can land on, read from file headers alone."""

from __future__ import annotations

from recipe_runner.resolved import ResolvedBase
from recipe_runner.sources.base_folder import read_index
from recipe_runner.sources.source import Source
from recipe_runner.weights.checkpoint import identify_checkpoint
from recipe_runner.weights.contents import read_contents
from recipe_runner.weights.formats import WEIGHTS_SUFFIXES
from recipe_runner.weights.ldm_modules import checkpoint_modules
from recipe_runner.weights.modules import ModuleTable, Shape, component_modules
from recipe_runner.weights.original_layout import standard_name

COMPONENTS = ("unet", "transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3")


def base_modules(base: ResolvedBase) -> ModuleTable | None:
    """Module names and weight shapes of each component; None where a header does not tell them before loading.

    That is so for what is not on this machine, and for a single-file checkpoint of a family whose conversion is not
    known here.

    Raises:
        WeightsError: a weights file is broken.
    """
    if not isinstance(base.source, Source):
        return None
    if base.weight_name is not None:
        return _checkpoint_table(base, base.source, base.weight_name)
    index = read_index(base.source.root, base.source.address)
    table: dict[str, dict[str, Shape]] = {}
    for name in COMPONENTS:
        if name not in index.components and name not in base.components:
            continue
        if name not in base.components:
            source, prefix = base.source, f"{name}/"
        else:
            component = base.components[name]
            if component is None:
                continue
            if not isinstance(component.source, Source) or component.weight_name is not None:
                return None
            source, prefix = component.source, f"{component.subfolder}/" if component.subfolder else ""
        shapes = _shapes(source, prefix)
        if shapes is None:
            return None
        table[name] = component_modules(shapes, index.components.get(name, ("", None))[1])
    return table


def _checkpoint_table(base: ResolvedBase, source: Source, weight_name: str) -> ModuleTable | None:
    """The modules of a single-file checkpoint, under the names they get when it is converted."""
    if any(name in base.components for name in COMPONENTS):
        return None
    shapes = read_contents(source.path(weight_name)).weights
    checkpoint = identify_checkpoint(shapes)
    if isinstance(checkpoint, str):
        return None
    return checkpoint_modules(checkpoint.family, {standard_name(key): shape for key, shape in shapes.items()})


def _shapes(source: Source, prefix: str) -> dict[str, Shape] | None:
    """The tensors of a component's weights files; None when it has none."""
    names = [f.name for f in source.files if f.name.startswith(prefix) and f.name.endswith(WEIGHTS_SUFFIXES)]
    if not names:
        return None
    shapes: dict[str, Shape] = {}
    for name in names:
        shapes |= read_contents(source.path(name)).weights
    return shapes
