"""Find what a recipe's addresses name, choose exactly the files needed, and give each its digest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from recipe_runner.pipelines.library_classes import Kind
from recipe_runner.pipelines.table import pipelines
from recipe_runner.sources.access import access
from recipe_runner.sources.address import (
    Located,
    check_name,
    chosen,
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
from recipe_runner.weights.files.digests import Progress, file_sha256
from recipe_runner.weights.files.formats import WEIGHTS_SUFFIXES, require_weights
from recipe_runner.weights.files.header import read_header

_CONFIG_NAMES: Mapping[str, Kind | None] = {
    "config.json": None,
    "tokenizer_config.json": "tokenizer",
    "preprocessor_config.json": "image_processor",
    "scheduler_config.json": "scheduler",
}
"""The files of which a component's folder has one, and what it then holds a component of."""
NEVER_INSIDE = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that no single file holds; diffusers leaves them out too."""
_NO_MODELS = ("tokenizer", "feature_extractor", "processor", "image_processor")
"""Beginnings of the names of components that have no weights."""
_MOST_SHOWN = 12


def find_base(  # noqa: PLR0913 - each is a key of the recipe
    address: str,
    *,
    folder: Path,
    revision: str | None = None,
    variant: str | None = None,
    weight_name: str | None = None,
    config: str | None = None,
    left_out: Collection[str] = (),
    described: Collection[str] = (),
    allow_pickle: bool = False,
    progress: Progress | None = None,
) -> FoundBase:
    """The base that `address` names, seen from the recipe's `folder`.

    `left_out` names the components that the recipe replaces or sets to null; their files are not needed, but for the
    configuration of those `described`, which it replaces by single files.

    Raises:
        SourceMissing: what is named is not on this machine (E401, E402, E403, E416).
        ResolutionError: it is there and cannot be used (E404, E405, E407, E408, E409, E417, E418, E419, E444 to E446).
        WeightsError: a weights file is refused, unreadable or not whole (E406, E410, E411, E412, E414, E415, E501 to
            E503, E607).
    """
    wanted = Address(model=address, revision=revision, variant=variant, weight_name=weight_name)
    found = _find_base(wanted, folder, left_out, progress, described=described, allow_pickle=allow_pickle)
    name = found.weight_name
    if name is None:
        return found if config is None else with_config(found, config, folder=folder, left_out=left_out)
    # Imported where a base is a single file: what all families look like is a good deal to read.
    from recipe_runner.sources.single_file import identified, looked_into  # noqa: PLC0415

    found, shapes = looked_into(found, name)
    if config is not None:
        return with_config(found, config, folder=folder, left_out=left_out)
    return identified(found, name, shapes, left_out)


def _find_base(
    wanted: Address,
    folder: Path,
    left_out: Collection[str],
    progress: Progress | None,
    *,
    described: Collection[str],
    allow_pickle: bool,
) -> FoundBase:
    located = locate(wanted.model, folder, wanted.revision)
    if located.file == INDEX:
        message = f"{wanted.model} is a file of a pipeline folder, not the folder"
        raise refused("E405", message, f"write `model: {wanted.model.removesuffix(INDEX).rstrip('/') or '.'}`")
    if located.file is None and wanted.weight_name is None:

        def choose(root: Folder) -> tuple[PipelineIndex, list[str]]:
            index = read_index(root, wanted.model)
            kept = {"left_out": left_out, "described": described}
            return index, base_files(root, index, wanted, **kept, allow_pickle=allow_pickle)

        located, (index, names) = chosen(located, choose)
        for component in sorted(set(left_out) - set(index.components)):
            _refuse_misspelt(wanted.model, component, index)
        source = _source(located, names, wanted, progress)
        refuse_settings(source, kinds_of(index))
        return FoundBase(source=source, pipeline=index.pipeline, components=index.components)
    if wanted.variant is not None:
        message = f"{wanted.model}: a single-file checkpoint has no variants (variant {wanted.variant})"
        raise refused("E409", message, "remove `variant`, or name the other file")
    source = _weights_source(located, wanted, progress, allow_pickle=allow_pickle)
    return FoundBase(source=source, pipeline="auto", components={}, weight_name=source.files[0].name)


def _refuse_misspelt(address: str, component: str, index: PipelineIndex) -> None:
    """A component that the index does not list may still be one the pipeline takes (image_encoder); a typo may not."""
    known = pipelines().get(index.pipeline, {}).get("components", {})
    hint = nearest_names(component, sorted(index.components))
    if component not in known and hint.startswith("did you mean"):
        raise refused("E418", f"{address} has no component {component}", hint)


def with_config(found: FoundBase, config: str, *, folder: Path, left_out: Collection[str] = ()) -> FoundBase:
    """A single-file base with the configuration that lies in the folder or repository `config`.

    `left_out` names the components that the recipe replaces or sets to null.

    Raises: as `find_base`; E405 when the base is a folder, which has its own configuration.
    """
    if found.weight_name is None:
        message = f"{found.source.address} is a pipeline folder; `config` is for a single-file checkpoint"
        raise refused("E405", message, "remove `config`")
    located = locate(config, folder)
    if located.file is not None:
        raise refused("E405", f"{config}: `config` wants a folder with a model_index.json, and this is a file")

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
    source = _source(located, names, Address(model=config), None)
    refuse_settings(source, kinds_of(index))
    return replace(found, pipeline=index.pipeline, components=index.components, config=source)


def find_component(  # noqa: PLR0913 - each is a key of the recipe
    address: str,
    *,
    folder: Path,
    revision: str | None = None,
    subfolder: str | None = None,
    weight_name: str | None = None,
    variant: str | None = None,
    name: str | None = None,
    allow_pickle: bool = False,
    progress: Progress | None = None,
) -> FoundComponent:
    """The files that replace a component: a folder with configuration (and weights), or one weights file.

    `name` is the component's: a folder may hold a model and its tokenizer, of which only one is meant.

    Raises: as `find_base`.
    """
    wanted = Address(model=address, revision=revision, subfolder=subfolder, weight_name=weight_name, variant=variant)
    located = locate(wanted.model, folder, wanted.revision)
    if located.file is not None or wanted.weight_name is not None:
        if wanted.variant is not None:
            message = f"{wanted.model}: a single file has no variants (variant {wanted.variant})"
            raise refused("E409", message, "remove `variant`")
        source = _weights_source(located, wanted, progress, allow_pickle=allow_pickle)
        return FoundComponent(source=source, weight_name=source.files[0].name)
    located, (kind, names) = chosen(
        located, lambda root: _component_names(root, wanted, name, allow_pickle=allow_pickle)
    )
    source = _source(located, names, wanted, progress)
    subfolder = None if wanted.subfolder is None else inside(located.folder, wanted.subfolder, "subfolder")
    refuse_settings(source, {subfolder or "": kind})
    return FoundComponent(source=source, subfolder=subfolder)


def _component_names(
    root: Folder, wanted: Address, component: str | None, *, allow_pickle: bool
) -> tuple[Kind | None, list[str]]:
    """What a component's folder holds a component of, and its files, as paths in the source."""
    part, prefix, shown = _subfolder(wanted.model, root, wanted.subfolder)
    refuse_code(part, shown)
    names = config_files(part)
    if not any(name in names for name in _CONFIG_NAMES):
        within = [name for name in listing(part) if name.endswith("/") and (part / name / "config.json").is_file()]
        hint = nearest_names("config.json", listing(part))
        if within:
            hint = f"there is one in {' and '.join(within[:3])}: name it with `subfolder`"
        raise missing("E416", f"{shown}: no config.json there, so it is not a component's folder", hint)
    kind: Kind | None = "tokenizer"
    if "config.json" not in names:
        kind = next(known for name, known in _CONFIG_NAMES.items() if name in names)
    elif "tokenizer_config.json" not in names or (component and not component.startswith(_NO_MODELS)):
        kind = declared_kind(read_json(part / "config.json", f"{shown}/config.json"), f"{shown}/config.json")
    files, whole = part_files(part, shown, kind, wanted.variant, allow_pickle=allow_pickle)
    if not whole:
        message, hint = no_weights_message(part, shown, kind, wanted.variant)
        others = available_variants(part, kind) if wanted.variant is None else []
        hint = hint or (f"write `variant: {others[0]}`" if others else "")
        raise refused("E409" if wanted.variant else "E416", message, hint)
    return kind, [f"{prefix}{name}" for name in files]


def find_weights(
    address: str,
    *,
    folder: Path,
    revision: str | None = None,
    subfolder: str | None = None,
    weight_name: str | None = None,
    usual: tuple[str, ...] = (),
    allow_pickle: bool = False,
    progress: Progress | None = None,
) -> Source:
    """The one weights file of an adapter: `source.files[0]`.

    Without `weight_name` it is the first of the `usual` names that is in the folder, else the only candidate there;
    safetensors come before pickles.

    Raises: as `find_base`; E404 when the folder holds none or several.
    """
    wanted = Address(model=address, revision=revision, subfolder=subfolder, weight_name=weight_name)
    located = locate(wanted.model, folder, wanted.revision)
    source = _weights_source(located, wanted, progress, usual, allow_pickle=allow_pickle)
    if source.files[0].name.endswith(".safetensors"):
        # A broken file is told also where there is no base yet that it could be laid out on.
        read_header(source.path(source.files[0].name))
    return source


def find_beside(weights: Source, name: str, *, folder: Path) -> Source | None:
    """The file called `name` in the folder of a weights file that was found; None where there is none.

    Raises: as `find_base`; SourceMissing E402 where the local cache does not know what else the repository has.
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
    return _source(located, [beside], replace(written, subfolder=None, weight_name=beside), None)


def _weights_source(
    located: Located,
    wanted: Address,
    progress: Progress | None,
    usual: tuple[str, ...] = (),
    *,
    allow_pickle: bool,
) -> Source:
    """The one weights file that is wanted, as a source; a pickle is refused before it is fetched."""
    located, name = chosen(located, lambda root: _weights_name(located, root, wanted, usual))
    allowed_weights(located.folder / name, allow_pickle=allow_pickle)
    located.fetch([name])
    require_weights(located.root / name, allow_pickle=allow_pickle)
    return _source(located, [name], wanted, progress)


def _subfolder(address: str, root: Folder, subfolder: str | None) -> tuple[Folder, str, str]:
    """The folder to look in, its prefix of names in the source, and how a message shows it."""
    if subfolder is None:
        return root, "", address
    clean = inside(root, subfolder, "subfolder")
    part = root / clean
    if not part.is_dir():
        names = [name.rstrip("/") for name in listing(root) if name.endswith("/")]
        raise missing("E401", f"{address}: no folder {clean} in it", nearest_names(clean, names)).on("subfolder")
    return part, f"{clean}/", f"{address}/{clean}"


def _weights_name(located: Located, root: Folder, wanted: Address, usual: tuple[str, ...] = ()) -> str:
    if located.file is not None:
        if wanted.weight_name not in (None, located.file) or wanted.subfolder is not None:
            message = f"{located.address} is a file already; `weight_name` and `subfolder` are for folders"
            raise refused("E405", message, "remove them, or give the folder as `model`")
        return located.file
    part, prefix, shown = _subfolder(located.address, root, wanted.subfolder)
    if wanted.weight_name is None:
        return prefix + _only_candidate(part, shown, usual)
    clean = inside(part, wanted.weight_name, "weight_name")
    if not (part / clean).is_file():
        raise missing("E401", f"{shown}: no file {clean} in it", nearest_names(clean, listing(part))).on("weight_name")
    return prefix + clean


def _only_candidate(part: Folder, shown: str, usual: tuple[str, ...]) -> str:
    names = [name for name in listed(part) if name.lower().endswith(WEIGHTS_SUFFIXES) and not name.startswith(".")]
    candidates = [name for name in names if name.lower().endswith(".safetensors")] or names
    if not candidates:
        hint = nearest_names("weights.safetensors", listing(part))
        if INDEX in names or (part / INDEX).is_file():
            hint = "it is a pipeline folder: name it as `base.model`"
        raise missing("E404", f"{shown}: no weights file in it", hint)
    if expected := next((name for name in usual if name in names), None):
        return expected
    if len(candidates) > 1:
        shown_names = ", ".join(candidates[:_MOST_SHOWN]) + (" …" if len(candidates) > _MOST_SHOWN else "")
        message = f"{shown} holds {len(candidates)} weights files: {shown_names}"
        raise refused("E404", message, "say which with `weight_name`")
    return candidates[0]


def _source(located: Located, names: list[str], wanted: Address, progress: Progress | None) -> Source:
    """The chosen files as a source, fetched where they have to be."""
    unique = sorted(set(names))
    for name in unique:
        check_name(name, located.address)
    located.fetch(unique)
    check_configurations(located.root, unique, located.address)
    files = tuple(_file(located.root, name, progress) for name in unique)
    return Source(address=located.address, root=located.root, files=files, commit=located.commit, wanted=wanted)


def _file(root: Path, name: str, progress: Progress | None) -> SourceFile:
    path, meter = root / name, access().meter
    sha256 = file_sha256(path, progress or (lambda done, total: meter.hashing(name, done, total)))
    return SourceFile(name=name, size=path.stat().st_size, sha256=sha256)
