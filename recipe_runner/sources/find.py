"""Find what a recipe's addresses name, choose exactly the files needed, and give each its digest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from recipe_runner.pipelines.library_classes import Kind
from recipe_runner.pipelines.table import pipelines
from recipe_runner.sources.access import access
from recipe_runner.sources.address import (
    Located,
    check_name,
    chosen,
    folders_with,
    inside,
    listing,
    locate,
    missing,
    nearest_names,
    refused,
)
from recipe_runner.sources.base_folder import INDEX, PipelineIndex, base_files, kinds_of, read_index, refuse_code
from recipe_runner.sources.component_class import component_kind, declared_kind
from recipe_runner.sources.component_files import (
    allowed_weights,
    available_variants,
    check_configurations,
    config_files,
    listed,
    no_weights_message,
    part_files,
    read_json,
)
from recipe_runner.sources.folder import Folder
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.sources.settings import refuse_settings
from recipe_runner.sources.source import Address, FoundBase, FoundComponent, Source, SourceFile
from recipe_runner.weights.files.formats import WEIGHTS_SUFFIXES, require_weights
from recipe_runner.weights.files.header import read_header

_CONFIG_NAMES: Mapping[str, Kind | None] = {
    "config.json": None,
    "tokenizer_config.json": "tokenizer",
    "preprocessor_config.json": "image_processor",
    "scheduler_config.json": "scheduler",
}
"""The files of which a component's folder has at least one, and the kind of component that the file shows."""
NEVER_INSIDE = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that no single file holds; diffusers leaves them out too."""
_NO_MODELS = ("tokenizer", "feature_extractor", "processor", "image_processor")
"""Beginnings of the names of components that have no weights."""
_MOST_SHOWN = 12


def find_base(
    address: Address,
    *,
    folder: Path,
    config: str | None = None,
    left_out: Collection[str] = (),
    described: Collection[str] = (),
    allow_pickle: bool = False,
) -> FoundBase:
    """The base at an address, as seen from the recipe's `folder`.

    `left_out` names the components that the recipe replaces or sets to null. Their files are not needed, except for the
    configurations of those in `described`, which the recipe replaces by single files.

    Raises:
        SourceMissing: the files are not on this machine (E401, E402, E403, E416).
        ResolutionError: they cannot be used (E404, E405, E407, E408, E409, E417, E418, E419, E444 to E446).
        WeightsError: a weights file is refused, unreadable or not whole (E406, E410, E411, E412, E414, E415, E501 to
            E503, E607).
    """
    located = locate(address.model, folder, address.revision)
    if located.file == INDEX:
        above = address.model.removesuffix(INDEX).rstrip("/") or "."
        message = f"{address.model} is a file of a pipeline folder, not the folder"
        raise refused("E405", message, f"write `model: {above}`")
    if located.file is None and address.weight_name is None:
        found = _base_in_folder(located, address, left_out, described=described, allow_pickle=allow_pickle)
        if config is None:
            return found
        return with_config(found, config, folder=folder, left_out=left_out)
    if address.variant is not None:
        message = f"{address.model}: a single-file checkpoint has no variants (variant {address.variant})"
        raise refused("E409", message, "remove `variant`, or name the other file")
    source = _weights_source(located, address, allow_pickle=allow_pickle)
    name = source.files[0].name
    # Imported where a base is a single file: the module reads the structures of all families.
    from recipe_runner.sources.single_file import identified, looked_into  # noqa: PLC0415

    found = FoundBase(source=source, pipeline="auto", components={}, weight_name=name)
    found, shapes = looked_into(found, name)
    if config is not None:
        return with_config(found, config, folder=folder, left_out=left_out)
    return identified(found, name, shapes, left_out)


def _base_in_folder(
    located: Located, address: Address, left_out: Collection[str], *, described: Collection[str], allow_pickle: bool
) -> FoundBase:
    """The base in a folder in diffusers' layout."""

    def choose(root: Folder) -> tuple[PipelineIndex, list[str]]:
        index = read_index(root, address.model)
        names = base_files(root, index, address, left_out=left_out, described=described, allow_pickle=allow_pickle)
        return index, names

    located, (index, names) = chosen(located, choose)
    for component in sorted(set(left_out) - set(index.components)):
        _refuse_misspelt(address.model, component, index)
    source = _source(located, names, address)
    refuse_settings(source, kinds_of(index))
    return FoundBase(source=source, pipeline=index.pipeline, components=index.components)


def _refuse_misspelt(address: str, component: str, index: PipelineIndex) -> None:
    """Raise E418 for a typo. A component missing in the index may still be one of the pipeline's (image_encoder)."""
    known = pipelines().get(index.pipeline, {}).get("components", {})
    hint = nearest_names(component, sorted(index.components))
    if component not in known and hint.startswith("did you mean"):
        raise refused("E418", f"{address} has no component {component}", hint)


def with_config(found: FoundBase, config: str, *, folder: Path, left_out: Collection[str] = ()) -> FoundBase:
    """A single-file base with the configuration in the folder or repository `config`.

    `left_out` names the components that the recipe replaces or sets to null.

    Raises: as `find_base`; E405 when the base is a folder, which has its own configuration.
    """
    if found.weight_name is None:
        message = f"{found.source.address} is a pipeline folder; `config` is for a single-file checkpoint"
        raise refused("E405", message, "remove `config`")
    located = locate(config, folder)
    if located.file is not None:
        raise refused("E405", f"{config}: `config` must be a folder with a model_index.json, and this is a file")

    def choose(root: Folder) -> tuple[PipelineIndex, list[str]]:
        index = read_index(root, config)
        names = [INDEX]
        for component, entry in index.components.items():
            part = root / component
            if component not in (*left_out, *NEVER_INSIDE):
                component_kind(f"{config}/{INDEX}", component, entry, part)
            if part.is_dir():
                refuse_code(part, f"{config}/{component}")
                names += [f"{component}/{name}" for name in config_files(part)]
        return index, names

    located, (index, names) = chosen(located, choose)
    source = _source(located, names, Address(config))
    refuse_settings(source, kinds_of(index))
    return replace(found, pipeline=index.pipeline, components=index.components, config=source)


def find_component(
    address: Address, *, folder: Path, name: str | None = None, allow_pickle: bool = False
) -> FoundComponent:
    """The files that replace a component: a folder with configuration (and weights), or one weights file.

    `name` is the component's name: a folder may hold both a model and its tokenizer, and only one of them is meant.

    Raises: as `find_base`.
    """
    located = locate(address.model, folder, address.revision)
    if located.file is not None or address.weight_name is not None:
        if address.variant is not None:
            message = f"{address.model}: a single file has no variants (variant {address.variant})"
            raise refused("E409", message, "remove `variant`")
        source = _weights_source(located, address, allow_pickle=allow_pickle)
        return FoundComponent(source=source, weight_name=source.files[0].name)
    choose = partial(_component_names, address=address, component=name, allow_pickle=allow_pickle)
    located, (kind, names) = chosen(located, choose)
    source = _source(located, names, address)
    subfolder = address.subfolder
    if subfolder is not None:
        subfolder = inside(located.folder, subfolder, "subfolder")
    refuse_settings(source, {subfolder or "": kind})
    return FoundComponent(source=source, subfolder=subfolder)


def _component_names(
    root: Folder, *, address: Address, component: str | None, allow_pickle: bool
) -> tuple[Kind | None, list[str]]:
    """The kind of the component in a folder, and its files as paths in the source."""
    part, prefix, shown = _subfolder(address.model, root, address.subfolder)
    refuse_code(part, shown)
    kind = _kind_in_folder(part, shown, component)
    files, whole = part_files(part, shown, kind, address.variant, allow_pickle=allow_pickle)
    if not whole:
        raise _no_weights(part, shown, kind, address.variant)
    return kind, [f"{prefix}{name}" for name in files]


def _kind_in_folder(part: Folder, shown: str, component: str | None) -> Kind | None:
    """The kind of the component in a folder; None where its configuration does not say."""
    names = config_files(part)
    present = [name for name in _CONFIG_NAMES if name in names]
    if not present:
        raise _no_config(part, shown)
    if "config.json" not in present:
        return _CONFIG_NAMES[present[0]]
    is_model = component is not None and not component.startswith(_NO_MODELS)
    if "tokenizer_config.json" in present and not is_model:
        return "tokenizer"
    return declared_kind(read_json(part / "config.json", f"{shown}/config.json"), f"{shown}/config.json")


def _no_config(part: Folder, shown: str) -> SourceMissing:
    """E416 for a folder that is not a component's, with the folders in it that are."""
    hint = nearest_names("config.json", listing(part))
    within = [f"{name}/" for name in folders_with(part, "config.json")]
    if within:
        hint = f"there is one in {' and '.join(within[:3])}: name it with `subfolder`"
    return missing("E416", f"{shown}: config.json is missing, so this is not a component's folder", hint)


def _no_weights(part: Folder, shown: str, kind: Kind | None, variant: str | None) -> Exception:
    """E416 or E409 for a component's folder without the weights that the recipe asks for."""
    message, hint = no_weights_message(part, shown, kind, variant)
    if variant:
        return refused("E409", message, hint)
    others = available_variants(part, kind)
    if others and not hint:
        hint = f"write `variant: {others[0]}`"
    return refused("E416", message, hint)


def find_weights(address: Address, *, folder: Path, usual: Collection[str] = (), allow_pickle: bool = False) -> Source:
    """The one weights file of an adapter: `source.files[0]`.

    Without `weight_name` it is the first of the `usual` names found in the folder, else the only candidate there;
    safetensors come before pickles.

    Raises: as `find_base`; E404 when the folder holds none or several.
    """
    located = locate(address.model, folder, address.revision)
    source = _weights_source(located, address, usual, allow_pickle=allow_pickle)
    if source.files[0].name.endswith(".safetensors"):
        # So that a broken file is also reported while its base is not known.
        read_header(source.path(source.files[0].name))
    return source


def find_beside(weights: Source, name: str, *, folder: Path) -> Source | None:
    """The file `name` in the folder of a weights file that was found; None if it does not exist.

    Raises: as `find_base`; SourceMissing E402 where the local cache does not know which other files the repository has.
    """
    written = weights.written
    beside = PurePosixPath(weights.files[0].name).with_name(name).as_posix()

    def choose(root: Folder) -> str:
        if not (root / beside).is_file():
            raise missing("E401", f"{written.model}: no file {beside} in it")
        return beside

    try:
        located, _ = chosen(locate(written.model, folder, written.revision), choose)
    except SourceMissing as error:
        if error.problems[0].code != "E401":
            raise
        return None
    return _source(located, [beside], replace(written, subfolder=None, weight_name=beside))


def _weights_source(located: Located, address: Address, usual: Collection[str] = (), *, allow_pickle: bool) -> Source:
    """The one weights file at an address, as a source; a pickle is refused before it is fetched."""
    choose = partial(_weights_name, located, address=address, usual=usual)
    located, name = chosen(located, choose)
    allowed_weights(located.folder / name, allow_pickle=allow_pickle)
    located.fetch([name])
    require_weights(located.root / name, allow_pickle=allow_pickle)
    return _source(located, [name], address)


def _subfolder(address: str, root: Folder, subfolder: str | None) -> tuple[Folder, str, str]:
    """The folder to look in, its prefix of names in the source, and its name in messages."""
    if subfolder is None:
        return root, "", address
    clean = inside(root, subfolder, "subfolder")
    part = root / clean
    if not part.is_dir():
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        raise missing("E401", f"{address}: no folder {clean} in it", nearest_names(clean, folders)).on("subfolder")
    return part, f"{clean}/", f"{address}/{clean}"


def _weights_name(located: Located, root: Folder, *, address: Address, usual: Collection[str]) -> str:
    if located.file is not None:
        if address.weight_name not in (None, located.file) or address.subfolder is not None:
            message = f"{located.address} is already a file; `weight_name` and `subfolder` are for folders"
            raise refused("E405", message, "remove them, or give the folder as `model`")
        return located.file
    part, prefix, shown = _subfolder(located.address, root, address.subfolder)
    if address.weight_name is None:
        return prefix + _only_candidate(part, shown, usual)
    clean = inside(part, address.weight_name, "weight_name")
    if not (part / clean).is_file():
        raise missing("E401", f"{shown}: no file {clean} in it", nearest_names(clean, listing(part))).on("weight_name")
    return prefix + clean


def _only_candidate(part: Folder, shown: str, usual: Collection[str]) -> str:
    """The first weights file with a `usual` name, else the only weights file of a folder."""
    names = [name for name in listed(part) if _is_weights(name)]
    if not names:
        raise _no_candidate(part, shown)
    for name in usual:
        if name in names:
            return name
    candidates = [name for name in names if name.lower().endswith(".safetensors")] or names
    if len(candidates) > 1:
        first = ", ".join(candidates[:_MOST_SHOWN])
        if len(candidates) > _MOST_SHOWN:
            first += " …"
        message = f"{shown} holds {len(candidates)} weights files: {first}"
        raise refused("E404", message, "choose one with `weight_name`")
    return candidates[0]


def _is_weights(name: str) -> bool:
    return name.lower().endswith(WEIGHTS_SUFFIXES) and not name.startswith(".")


def _no_candidate(part: Folder, shown: str) -> SourceMissing:
    """E404 for a folder without a weights file."""
    hint = nearest_names("weights.safetensors", listing(part))
    if (part / INDEX).is_file():
        hint = "it is a pipeline folder: name it as `base.model`"
    return missing("E404", f"{shown}: no weights file in it", hint)


def _source(located: Located, names: Sequence[str], address: Address) -> Source:
    """The chosen files as a source; files that are missing on this machine are fetched."""
    unique = sorted(set(names))
    for name in unique:
        check_name(name, located.address)
    located.fetch(unique)
    check_configurations(located.root, unique, located.address)
    meter = access().meter
    files = [SourceFile.of(located.root / name, located.root, partial(meter.hashing, name)) for name in unique]
    return Source(address=located.address, root=located.root, files=tuple(files), commit=located.commit, wanted=address)
