"""The base as a script loads it: from_pretrained or from_single_file, with its replaced components."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.exchange.python.code import Code, Place, call
from recipe_runner.pipelines import table as diffusers_table
from recipe_runner.sources.bundled import bundled_family
from recipe_runner.sources.source import Source
from recipe_runner.weights.checkpoint.original_layout import standard_name
from recipe_runner.weights.files.contents import read_contents

if TYPE_CHECKING:
    from recipe_runner.plan.resolved import AnySource, ResolvedBase, ResolvedComponent

_TRANSFORMERS = ("CLIP", "T5", "Llama", "Gemma", "Qwen", "ChatGLM", "Mistral", "Siglip", "AutoTokenizer")


class BaseCode:
    """The statement that loads one base; `names` are what it imports from diffusers and transformers."""

    def __init__(self, base: ResolvedBase, place: Place, more: Mapping[str, Code]) -> None:
        """Of this base, with paths as `place` writes them, and `more` components of transformers for IP-Adapters."""
        self._base = base
        self._more = {name: code for name, code in more.items() if name not in base.components}
        self._place = place
        self.pipeline = "DiffusionPipeline" if base.pipeline == "auto" else base.pipeline
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
            named[name] = None if component is None else Code(self._component(name, component))
        for name, code in self._more.items():
            self.names["transformers"].append(code.text.partition(".")[0])
            named[name] = Code(name)
        if base.components.get("safety_checker", ...) is None:
            named["requires_safety_checker"] = False
        loading = call(f"pipeline = {self.pipeline}.{function}", where, **named)
        return "\n    ".join([*(f"{name} = {code.text}" for name, code in self._more.items()), loading])

    def problems(self) -> Iterator[str]:
        """What this base is in diffusers that it is not here."""
        for name, component in self._base.components.items():
            if component is not None and component.dtype != self._base.dtype:
                yield f"diffusers' call fails when {name} has another data type ({component.dtype}) than the rest"
            if component is not None and component.weight_name is not None:
                if self._class(name, component).startswith(_TRANSFORMERS):
                    yield f"transformers reads no {name} from a single file"
                yield from _unread(component.source, component.weight_name)
        if self._base.weight_name is not None:
            yield from _unread(self._base.source, self._base.weight_name)

    def notes(self) -> Iterator[str]:
        """What the script needs beside the files."""
        if self._base.weight_name is not None and self._bundled():
            yield "diffusers fetches the configuration of a single-file checkpoint from the Hub"
        if self._base.pipeline == "auto":
            yield "the base is not on this machine, so its pipeline class is left to diffusers"

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
        named: dict[str, object] = {}
        if component.weight_name is not None:
            where = self._file(component.source, component)
            config = self._base.source if self._base.weight_name is None else self._base.config
            if config is not None and not (self._base.weight_name and self._bundled()):
                named = {"config": _text(self._place.source(config)[0]), "subfolder": name}
            return call(f"{class_name}.from_single_file", where, **named, dtype=Code(f"torch.{component.dtype}"))
        where, named = self._place.source(component.source)
        if component.subfolder is not None:
            named["subfolder"] = component.subfolder
        if component.variant is not None:
            named["variant"] = component.variant
        named |= {"dtype": Code(f"torch.{component.dtype}")} if "okenizer" not in class_name else {}
        if not self._base.allow_pickle and library == "diffusers":
            named["use_safetensors"] = True
        return call(f"{class_name}.from_pretrained", where, **named)

    def _file(self, source: AnySource, component: ResolvedComponent) -> object:
        name = "/".join(part for part in (component.subfolder, component.weight_name) if part)
        if isinstance(source, Source) and source.commit is None:
            return self._place.path(source.root / name)
        address, more = self._place.source(source)
        return f"https://huggingface.co/{address}/blob/{more.get('revision', 'main')}/{name}"

    def _class(self, name: str, component: ResolvedComponent) -> str:
        """The class that the component's own configuration names, else that of the pipeline's signature."""
        if isinstance(component.source, Source):
            declared = _declared(component.source.root / (component.subfolder or "") / "config.json")
            if declared:
                return declared
        entry = diffusers_table.pipelines().get(self._base.pipeline)
        classes = entry["components"].get(name, {}).get("classes", ()) if entry else ()
        return str(classes[0]) if classes else "AutoModel"


def _text(where: object) -> object:
    """A place as the text that from_single_file wants for a configuration."""
    return Code(f"str({where.text})") if isinstance(where, Code) else where


def _unread(source: AnySource, name: str) -> Iterator[str]:
    """What diffusers does not read of a single file that is read here."""
    if isinstance(source, Source):
        shapes = read_contents(source.path(name)).weights
        alone = (key for key in shapes if key == "input_blocks.0.0.weight")
        other = next((key for key in shapes if standard_name(key) != key), None) or next(alone, None)
        if other is not None:
            yield f"diffusers does not read tensors of {name} by the names that they have ({other})"


def _declared(path: Path) -> str | None:
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(tree, Mapping):
        return None
    named = tree.get("_class_name") or (tree.get("architectures") or [None])[0]
    return named if isinstance(named, str) and named.isidentifier() else None
