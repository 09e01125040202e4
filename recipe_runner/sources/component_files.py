"""Choose the files of one component's folder: its configuration, and its weights in one format and variant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipe_runner.disk.inside import is_plain_path
from recipe_runner.pipelines.library_classes import MODELS, Kind
from recipe_runner.problems.problem import ResolutionError
from recipe_runner.sources.address import missing, nearest_names, refused
from recipe_runner.sources.folder import Folder, is_here, on_disk
from recipe_runner.weights.configuration import excesses, most_bytes, problems_in
from recipe_runner.weights.files.formats import require_weights, weights_error

CONFIG_SUFFIXES = (".json", ".txt", ".model", ".jinja")
"""Suffixes of configurations, vocabularies and tokenizer models. All other files are weights, or are not used."""

_SAFE = ".safetensors"
_DOWNLOAD_AGAIN = "download the whole folder again"
_STEMS: Mapping[Kind, tuple[tuple[str, str], ...]] = {
    "diffusers_model": (("diffusion_pytorch_model", ".safetensors"), ("diffusion_pytorch_model", ".bin")),
    "transformers_model": (("model", ".safetensors"), ("pytorch_model", ".bin")),
}
"""The beginnings and ends of the names that each library looks for, in its order."""
_CONFIGS: Mapping[Kind, str] = {
    "diffusers_model": "config.json",
    "transformers_model": "config.json",
    "scheduler": "scheduler_config.json",
    "guider": "guider_config.json",
}
"""The configuration that a component of each kind needs."""
_PEFT = "adapter_config.json"
_NO_VOCABULARY = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")
_READ = ("config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json")
"""Files for which the libraries give poor messages when they are broken."""


def read_json(entry: Folder, shown: str) -> Mapping[str, Any]:
    """The JSON object in a configuration file. `shown` names the file in messages.

    Raises:
        SourceMissing: E416 the file is missing.
        ResolutionError: E407 it is not a JSON object, E422 it asks for more than a library may build.
    """
    path = on_disk(entry)
    check_size(path, entry.name, shown)
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise missing("E416", f"{shown}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise refused("E407", f"{shown}: not a readable JSON file ({error})") from error
    if not isinstance(tree, dict):
        raise refused("E407", f"{shown}: not a JSON object")
    faults = list(excesses(entry.name, tree))
    if faults:
        raise ResolutionError(*problems_in(path, shown, "E422", faults, "no published model has such a configuration"))
    return tree


def check_size(path: Path, name: str, shown: str) -> None:
    """Raise E422 if the configuration or vocabulary `name` is larger than the limit for such a file."""
    most = most_bytes(name)
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise missing("E416", f"{shown}: no such file") from error
    except OSError as error:
        raise refused("E407", f"{shown}: not a readable file ({error})") from error
    if size > most:
        raise refused("E422", f"{shown} has {size:,} bytes; at most {most:,} are read of such a file")


def check_configurations(root: Path, names: Sequence[str], shown: str) -> None:
    """Check the configurations and vocabularies among the files `names` in `root`, before a library reads them.

    Raises:
        ResolutionError: E407 a file is broken, E422 a file asks for more than a library may build.
    """
    for name in names:
        path = root / name
        if path.name in _READ or path.name in ("model_index.json", "processor_config.json"):
            read_json(path, f"{shown}/{name}")
        elif path.suffix in CONFIG_SUFFIXES:
            check_size(path, path.name, f"{shown}/{name}")


def listed(folder: Folder) -> list[str]:
    """Names of the files in `folder`, sorted; links into a Hub cache count as files."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise refused("E415", f"{folder}: the folder cannot be read ({error.strerror})") from error


def config_files(folder: Folder) -> list[str]:
    """Configuration files in `folder`, without shard indexes, which belong to weights."""
    return [name for name in listed(folder) if name.endswith(CONFIG_SUFFIXES) and ".index." not in name]


def part_files(
    folder: Folder, shown: str, kind: Kind | None, variant: str | None, *, allow_pickle: bool
) -> tuple[list[str], bool]:
    """All files of a component of this kind, in its folder; the library that loads it sees no other files.

    The second value is whether it has the weights that it needs. If the kind is not known, those of either library
    count.

    Raises:
        ResolutionError: E416 a file that the component needs is missing, E407 a configuration on this machine is
            broken, E444 the folder has more than the library can load, and the library would choose by its own rules.
        WeightsError: E406 there are only pickles, which are not allowed.
    """
    names = described_files(folder, shown, kind)
    if kind is not None and kind not in MODELS:
        return names, True
    if kind != "diffusers_model" and _PEFT in names:
        message = f"{shown} holds a PEFT adapter ({_PEFT}), which transformers would apply when it loads the folder"
        hint = f"write it under `adapters` as kind lora, and move {_PEFT} and its weights out of the folder"
        raise refused("E444", message, hint)
    weights = weights_files(folder, shown, kind, variant, allow_pickle=allow_pickle)
    return [*names, *(weights or ())], weights is not None


def described_files(folder: Folder, shown: str, kind: Kind | None) -> list[str]:
    """The configuration files of a component of this kind, after checking that the needed one is among them.

    Raises:
        ResolutionError: E416 the needed file is missing, E407 a file on this machine is broken.
    """
    names = config_files(folder)
    needed = None if kind is None else _CONFIGS.get(kind)
    if needed is not None and needed not in names:
        raise missing("E416", f"{shown}: {needed} is missing", "download the whole folder")
    read_through(folder, shown, names)
    return names


def require_vocabulary(folder: Folder, shown: str) -> None:
    """Raise E416 if the folder of a tokenizer has no vocabulary."""
    if set(config_files(folder)) <= set(_NO_VOCABULARY):
        raise missing("E416", f"{shown}: the vocabulary is missing", "download the whole folder")


def read_through(folder: Folder, shown: str, names: Sequence[str]) -> None:
    """Raise E407 if a configuration file among `names` is on this machine and is not a JSON object."""
    for name in _READ:
        if name in names and is_here(folder / name):
            read_json(folder / name, f"{shown}/{name}")


def weights_files(
    folder: Folder, shown: str, kind: Kind | None, variant: str | None, *, allow_pickle: bool
) -> list[str] | None:
    """Weights of the component in `folder`: one file, or an index and its shards. None if it has no such weights.

    They are those that the library of its kind looks for; if the kind is not known, those of either library.
    Safetensors come before pickles. With a variant only that variant's files count.

    Raises:
        ResolutionError: E416 an index names a shard that is missing, E407 a broken index, E444 both a whole file and
            an index.
        WeightsError: E406 there are only pickles, which are not allowed.
    """
    names = listed(folder)
    infix = ""
    if variant:
        infix = f".{variant}"
    for stem, suffix in _stems(kind):
        chosen = _whole_or_shards(folder, shown, names, f"{stem}{infix}{suffix}", f"{stem}{suffix}.index{infix}.json")
        if chosen:
            if suffix != _SAFE:
                allowed_weights(folder / chosen[-1], allow_pickle=allow_pickle)
            return chosen
    return None


def _stems(kind: Kind | None) -> list[tuple[str, str]]:
    stems: list[tuple[str, str]] = []
    for library, names in _STEMS.items():
        if kind in (None, library):
            stems += names
    return sorted(stems, key=lambda stem: stem[1] != _SAFE)


def allowed_weights(entry: Folder, *, allow_pickle: bool) -> None:
    """Refuse a file that must not be read as weights; a file that is not fetched yet is judged by its name alone.

    Raises:
        WeightsError: as `require_weights`.
    """
    if is_here(entry):
        require_weights(on_disk(entry), allow_pickle=allow_pickle)
    elif not allow_pickle and not entry.name.lower().endswith(".safetensors"):
        hint = "use the model's .safetensors file, or set `runtime: {allow_pickle: true}` if you trust it"
        message = "this is a pickled file, which can run code when it is read"
        raise weights_error("E406", Path(entry.name), message, hint)


def _whole_or_shards(folder: Folder, shown: str, names: list[str], whole: str, index: str) -> list[str] | None:
    """The file `whole`, or `index` and its shards; None if neither exists."""
    if whole in names and index in names:
        message = f"{shown} holds its weights twice: whole in {whole}, and in the shards that {index} names"
        hint = f"delete the older of the two: {whole}, or {index} with its shards (for a repository, in a copy)"
        raise refused("E444", message, hint)
    if whole in names:
        return [whole]
    if index not in names:
        return None
    shards = _shards(folder, shown, index)
    absent = [shard for shard in shards if shard not in names]
    if absent:
        count = f"{len(absent)} of the {len(shards)} shards in {index} are missing"
        raise missing("E416", f"{shown}: {count}: {', '.join(absent[:3])}", _DOWNLOAD_AGAIN)
    return [index, *shards]


def _shards(folder: Folder, shown: str, index: str) -> list[str]:
    """The shards that an index names, sorted.

    Raises:
        ResolutionError: E407 the index is broken.
    """
    weight_map = read_json(folder / index, f"{shown}/{index}").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise refused("E407", f"{shown}/{index}: its weight_map is not a mapping of tensors to files")
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if "/" in shard or not is_plain_path(shard):
            message = f"{shown}/{index}: its weight_map names {shard!r:.80}, which is not a file beside it"
            raise refused("E407", message, _DOWNLOAD_AGAIN)
    return shards


def available_variants(folder: Folder, kind: Kind | None = None) -> list[str]:
    """Variants of the weights of a kind in `folder`, sorted; weights without a variant are the empty string."""
    found = set()
    for name in listed(folder):
        for stem, suffix in _stems(kind):
            middle = name.removeprefix(stem).removesuffix(suffix)
            if name.startswith(stem) and name.endswith(suffix) and not middle.startswith("-0"):
                found.add(middle.removeprefix(".").split("-0")[0])
    return sorted(found)


def no_weights_message(folder: Folder, shown: str, kind: Kind | None, variant: str | None) -> tuple[str, str]:
    """The message and hint for a component without the weights that the recipe asks for."""
    variants = available_variants(folder, kind)
    if variants:
        have = " and ".join(variant_name(name) for name in variants)
        if variant:
            return f"{shown} has no weights of {variant_name(variant)}; it has {have}", ""
        return f"{shown} has no weights but those of {have}", ""
    usual = "".join(_stems(kind)[0])
    if available_variants(folder):
        library = str(kind).partition("_")[0]
        return f"{shown} holds no weights file that {library} looks for", f"rename its weights file {usual}"
    return f"{shown} holds no weights file", nearest_names(usual, listed(folder))


def variant_name(variant: str) -> str:
    """A variant in words."""
    if variant:
        return f"variant {variant}"
    return "no variant"
