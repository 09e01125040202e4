"""Refuse settings in a model's configuration that make a library load other files, or fetch or run code.

diffusers and transformers accept any key in these files; the keys here lead to files or code outside the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from recipe_runner.pipelines.library_classes import Kind
from recipe_runner.sources.address import refused
from recipe_runner.sources.component_files import read_json
from recipe_runner.sources.source import Source

_ATTENTION = ("eager", "sdpa", "flex_attention", "paged|eager")
_EXPERTS = ("eager", "batched_mm", "grouped_mm")
_AUTO_MAP = "auto_map"


def _is_set(value: Any) -> bool:
    return value not in (None, False, "", [], {})


def _kernel(built_in: tuple[str, ...]) -> Callable[[Any], bool]:
    """A test whether a choice, or one of the choices by part, does not come with the library."""

    def chooses(value: Any) -> bool:
        values = [value]
        if isinstance(value, Mapping):
            values = list(value.values())
        return any(_is_set(each) and each not in built_in for each in values)

    return chooses


def _outside(value: Any) -> bool:
    """Whether a value names a file in another folder."""
    if isinstance(value, list):
        return any(_is_elsewhere(name) for name in value)
    return _is_elsewhere(value)


def _is_elsewhere(name: Any) -> bool:
    """Whether a value is not the plain name of a file."""
    return not isinstance(name, str) or PurePosixPath(name).name != name or "\\" in name


_FETCHED = "others are code of another package, or fetched from the Hub"
_OTHER_FILE = "it reads weights from a file that is not the component's own"
_CODE = "it runs the model's own code"
_REFUSED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("_attn_implementation", "attn_implementation", "_attn_implementation_internal"),
        (_kernel(_ATTENTION), f"the supported attention implementations are {', '.join(_ATTENTION[:3])}; {_FETCHED}"),
    ),
    **dict.fromkeys(
        ("_experts_implementation", "experts_implementation", "_experts_implementation_internal"),
        (_kernel(_EXPERTS), f"the supported experts implementations are {', '.join(_EXPERTS)}; {_FETCHED}"),
    ),
    **dict.fromkeys(("use_kernels", "kernel_config"), (_is_set, "it fetches kernels from the Hub")),
    **dict.fromkeys(
        ("quantization_config", "compression_config"),
        (_is_set, "its weights are quantised, and need code of another package or of the Hub"),
    ),
    **dict.fromkeys(("transformers_weights", "gguf_file"), (_is_set, _OTHER_FILE)),
    **dict.fromkeys(("configuration_files", "fast_tokenizer_files"), (_outside, "it names a file in another folder")),
    **dict.fromkeys(
        ("audio_tokenizer", "audio_tokenizer_name_or_path", "use_pretrained_backbone"),
        (_is_set, "it loads another model by its name"),
    ),
    **dict.fromkeys(("trust_remote_code", "custom_pipeline", "custom_generate"), (_is_set, _CODE)),
    "fusion_config": (_is_set, "it changes the library's own classes, for other models too"),
    _AUTO_MAP: (_is_set, _CODE),
}
"""For each key: which values are refused, and why."""

_FILES = (
    "config.json", "scheduler_config.json", "guider_config.json", "tokenizer_config.json", "preprocessor_config.json",
    "processor_config.json", "video_preprocessor_config.json", "audio_tokenizer_config.json", "generation_config.json",
)  # fmt: skip


def refuse_settings(source: Source, kinds: Mapping[str, Kind | None]) -> None:
    """Refuse settings that make a library load, fetch or run anything but the files of the source.

    `kinds` has the kind of the component in each folder; the root is ``.

    Raises:
        ResolutionError: E446 a setting is refused; E407 a file is broken.
    """
    for file in source.files:
        folder, _, name = file.name.rpartition("/")
        if folder not in kinds or not _is_settings(name):
            continue
        shown = f"{source.address}/{file.name}"
        for key, value in _settings(read_json(source.path(file.name), shown)):
            refuses, why = _REFUSED[key[-1]]
            # A concrete class does not run code from auto_map; a processor runs that of the classes it picks.
            named_outright = key == (_AUTO_MAP,) and kinds[folder] != "processor"
            if not named_outright and refuses(value):
                message = f"{shown}: {'.'.join(key)} is {value!r:.80}, which is refused: {why}"
                raise refused("E446", message, "delete the setting from the file, or use another model")


def _is_settings(name: str) -> bool:
    return name in _FILES or (name.startswith("config.") and name.endswith(".json"))


def _settings(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The settings with these names at any depth, with the keys that lead to them."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    while pending:
        keys, value = pending.pop()
        if isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, dict):
                    pending.append(((*keys, str(number)), item))
        elif isinstance(value, dict):
            for key, item in value.items():
                if key in _REFUSED:
                    yield (*keys, key), item
                elif isinstance(item, (dict, list)):
                    pending.append(((*keys, key), item))
