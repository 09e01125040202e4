"""Write the call that loads the base: from_pretrained or from_single_file, with its replaced components."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from recipe_runner.canonical import mapping
from recipe_runner.exchange.python.code import Code, ScriptPlace, call
from recipe_runner.pipelines import table as diffusers_table
from recipe_runner.sources.bundled import bundled_family
from recipe_runner.sources.source import Source
from recipe_runner.weights.checkpoint.original_layout import standard_name
from recipe_runner.weights.files.contents import read_contents

if TYPE_CHECKING:
    from recipe_runner.plan.resolved_base import AnySource, ResolvedBase, ResolvedComponent

_TRANSFORMERS = ("CLIP", "T5", "Llama", "Gemma", "Qwen", "ChatGLM", "Mistral", "Siglip", "AutoTokenizer")

_BARE_UNET = "input_blocks.0.0.weight"
"""A tensor of a UNet in the original layout, without the prefix of a checkpoint."""


class BaseCode:
    """The statement that loads a base; `names` are its imports from diffusers and transformers."""

    def __init__(self, base: ResolvedBase, place: ScriptPlace, more: Mapping[str, Code]) -> None:
        """Take the base, the place that writes paths, and `more` components from transformers for IP-Adapters."""
        self._base = base
        self._more = {name: code for name, code in more.items() if name not in base.components}
        self._place = place
        self.pipeline = base.pipeline
        if base.pipeline == "auto":
            self.pipeline = "DiffusionPipeline"
        self.names: dict[str, list[str]] = {"diffusers": [self.pipeline], "transformers": []}

    def load(self) -> str:
        """`pipeline = …`, indented as the body of a function."""
        base = self._base
        named: dict[str, object] = {"dtype": Code(f"torch.{base.dtype}")}
        if base.weight_name is not None:
            where, function = self._checkpoint(named), "from_single_file"
        else:
            where, more = self._place.source(base.source)
            named = {**more, **named}
            function = "from_pretrained"
            if base.variant is not None:
                named["variant"] = base.variant
            if not base.allow_pickle:
                named["use_safetensors"] = True
        for name, component in base.components.items():
            named[name] = None
            if component is not None:
                named[name] = Code(self._component(name, component))
        statements = []
        for name, code in self._more.items():
            self.names["transformers"].append(code.text.partition(".")[0])
            named[name] = Code(name)
            statements.append(f"{name} = {code.text}")
        if base.components.get("safety_checker", ...) is None:
            named["requires_safety_checker"] = False
        statements.append(call(f"pipeline = {self.pipeline}.{function}", where, **named))
        return "\n    ".join(statements)

    def problems(self) -> Iterator[str]:
        """What diffusers cannot load of this base, or loads differently."""
        for name, component in self._base.components.items():
            if component is None:
                continue
            if component.dtype != self._base.dtype:
                yield f"diffusers' call fails when {name} has another data type ({component.dtype}) than the rest"
            if component.weight_name is not None:
                if self._class(name, component).startswith(_TRANSFORMERS):
                    yield f"transformers cannot load {name} from a single file"
                yield from _unread(component.source, component.weight_name)
        if self._base.weight_name is not None:
            yield from _unread(self._base.source, self._base.weight_name)

    def notes(self) -> Iterator[str]:
        """What the script needs in addition to the files."""
        if self._base.weight_name is not None and self._bundled():
            yield "diffusers fetches the configuration of a single-file checkpoint from the Hub"
        if self._base.pipeline == "auto":
            yield "the base is not on this machine, so diffusers chooses its pipeline class"

    def _checkpoint(self, named: dict[str, object]) -> object:
        base = self._base
        if base.config is not None and not self._bundled():
            named["config"] = _text(self._place.source(base.config)[0])
        if isinstance(base.source, Source) and base.source.commit is None:
            return self._place.path(base.source.path(str(base.weight_name)))
        address, more = self._place.source(base.source)
        return f"https://huggingface.co/{address}/blob/{more.get('revision', 'main')}/{base.weight_name}"

    def _bundled(self) -> bool:
        config = self._base.config
        return config is None or (isinstance(config, Source) and bundled_family(config) is not None)

    def _component(self, name: str, component: ResolvedComponent) -> str:
        class_name = self._class(name, component)
        library = "transformers" if class_name.startswith(_TRANSFORMERS) else "diffusers"
        self.names[library].append(class_name)
        if component.weight_name is not None:
            where = self._file(component.source, component)
            named = self._single_file_config(name)
            return call(f"{class_name}.from_single_file", where, **named, dtype=Code(f"torch.{component.dtype}"))
        where, named = self._place.source(component.source)
        if component.subfolder is not None:
            named["subfolder"] = component.subfolder
        if component.variant is not None:
            named["variant"] = component.variant
        if "okenizer" not in class_name:
            named["dtype"] = Code(f"torch.{component.dtype}")
        if not self._base.allow_pickle and library == "diffusers":
            named["use_safetensors"] = True
        return call(f"{class_name}.from_pretrained", where, **named)

    def _single_file_config(self, name: str) -> dict[str, object]:
        """The arguments with the configuration of a component that is a single file."""
        config: AnySource | None = self._base.source
        if self._base.weight_name is not None:
            config = None if self._bundled() else self._base.config
        if config is None:
            return {}
        return {"config": _text(self._place.source(config)[0]), "subfolder": name}

    def _file(self, source: AnySource, component: ResolvedComponent) -> object:
        name = PurePosixPath(component.subfolder or "", component.weight_name or "").as_posix()
        if isinstance(source, Source) and source.commit is None:
            return self._place.path(source.root / name)
        address, more = self._place.source(source)
        return f"https://huggingface.co/{address}/blob/{more.get('revision', 'main')}/{name}"

    def _class(self, name: str, component: ResolvedComponent) -> str:
        """The class in the component's configuration, or else the one in the signature of the pipeline."""
        if isinstance(component.source, Source):
            declared = _declared(component.source.root / (component.subfolder or "") / "config.json")
            if declared:
                return declared
        pipeline = mapping(diffusers_table.pipelines().get(self._base.pipeline))
        component_entry = mapping(mapping(pipeline.get("components")).get(name))
        for class_name in component_entry.get("classes", ()):
            return str(class_name)
        return "AutoModel"


def _text(where: object) -> object:
    """The path of a configuration as the text that from_single_file needs."""
    if isinstance(where, Code):
        return Code(f"str({where.text})")
    return where


def _unread(source: AnySource, name: str) -> Iterator[str]:
    """A sentence when diffusers cannot read a single file that recipe_runner can read."""
    if isinstance(source, Source):
        shapes = read_contents(source.path(name)).weights
        other = _other_name(shapes)
        if other is not None:
            yield f"diffusers does not know the names of tensors in {name} ({other})"


def _other_name(names: Collection[str]) -> str | None:
    """A tensor name of a single file that diffusers does not know; None when it knows all."""
    for name in names:
        if standard_name(name) != name:
            return name
    if _BARE_UNET in names:
        return _BARE_UNET
    return None


def _declared(path: Path) -> str | None:
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(tree, Mapping):
        return None
    architectures = tree.get("architectures") or [None]
    named = tree.get("_class_name") or architectures[0]
    return named if isinstance(named, str) and named.isidentifier() else None
