"""The modules of a resolved base that adapters can change, read from file headers alone."""

from __future__ import annotations

from recipe_runner.plan.adapters.base_parts import index_classes
from recipe_runner.plan.resolved_base import ResolvedBase, ResolvedComponent
from recipe_runner.sources.base_folder import read_index
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.contents import read_contents
from recipe_runner.weights.files.formats import WEIGHTS_SUFFIXES
from recipe_runner.weights.modules import Modules, ModuleTable, Shape, component_modules

COMPONENTS = ("unet", "transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3")


def base_modules(base: ResolvedBase) -> ModuleTable | None:
    """Module names and weight shapes of each component; None if they are not known before loading.

    They are unknown for files that are not on this machine, and for a single-file checkpoint of a family whose
    conversion is not known.

    Raises:
        WeightsError: a weights file is broken.
    """
    if not isinstance(base.source, Source):
        return None
    classes = index_classes(base)
    own = _own_modules(base, base.source)
    if own is None:
        return None
    table = dict(own)
    for name, component in base.components.items():
        if name not in COMPONENTS or component is None:
            continue
        modules = replaced_modules(name, component, classes.get(name))
        if modules is None:
            return None
        table[name] = modules
    return table


def _own_modules(base: ResolvedBase, source: Source) -> ModuleTable | None:
    """The modules of the base's own components."""
    if base.weight_name is None:
        return _folder_table(base, source)
    return checkpoint_table(base, source)


def _folder_table(base: ResolvedBase, source: Source) -> ModuleTable | None:
    """The modules of a pipeline folder's own components."""
    table: dict[str, Modules] = {}
    for name, (_, class_name) in read_index(source.root, source.address).components.items():
        if name in COMPONENTS and name not in base.components:
            shapes = tensor_shapes(source, f"{name}/")
            if shapes is None:
                return None
            table[name] = component_modules(shapes, class_name)
    return table


def checkpoint_table(base: ResolvedBase, source: Source) -> ModuleTable | None:
    """The modules of a single-file checkpoint's own components, under their names after conversion."""
    # Imported only for a base that is a single file.
    from recipe_runner.weights.checkpoint.checkpoint import identify_checkpoint  # noqa: PLC0415
    from recipe_runner.weights.checkpoint.ldm_modules import checkpoint_modules  # noqa: PLC0415
    from recipe_runner.weights.checkpoint.original_layout import standard_name  # noqa: PLC0415

    shapes = read_contents(source.path(str(base.weight_name))).weights
    checkpoint = identify_checkpoint(shapes)
    if isinstance(checkpoint, str):
        return None
    found = checkpoint_modules(checkpoint.family, {standard_name(key): shape for key, shape in shapes.items()})
    if found is None:
        return None
    return {name: modules for name, modules in found.items() if name not in base.components}


def replaced_modules(name: str, component: ResolvedComponent, class_name: str | None) -> Modules | None:
    """The modules of a replaced component."""
    if not isinstance(component.source, Source):
        return None
    if component.weight_name is not None:
        from recipe_runner.weights.checkpoint.ldm_modules import part_modules  # noqa: PLC0415 - as above

        return part_modules(name, class_name, read_contents(component.source.path(component.weight_name)).weights)
    prefix = ""
    if component.subfolder:
        prefix = f"{component.subfolder}/"
    shapes = tensor_shapes(component.source, prefix)
    if shapes is None:
        return None
    return component_modules(shapes, class_name)


def tensor_shapes(source: Source, prefix: str) -> dict[str, Shape] | None:
    """The tensors of a component's weights files; None if it has no weights file."""
    shapes: dict[str, Shape] = {}
    has_weights = False
    for file in source.files:
        if file.name.startswith(prefix) and file.name.endswith(WEIGHTS_SUFFIXES):
            has_weights = True
            shapes |= read_contents(source.path(file.name)).weights
    if not has_weights:
        return None
    return shapes
