"""Write the code that loads textual inversions, and adapt prompts to diffusers.

diffusers searches tokens in lower case, replaces parts of words, and uses no fixed order. A token in brackets and lower
case is safe from that and needs no change. Any other token becomes one such token for each of its vectors, and the
prompts of the script contain all of them, which is what the recipe means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from recipe_runner.exchange.python.code import Code, ScriptPlace, call, literal, more_arguments
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.plan.resolved import ResolvedLora, ResolvedTextualInversion
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.recipe.learned_tokens import occurrences
from recipe_runner.sources.source import Source
from recipe_runner.weights.embedding import BARE, Vectors, identify_embedding, place_embedding
from recipe_runner.weights.files.contents import read_contents

_SAFE = re.compile(r"<[^<>\sA-Z]+>")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class TokenCode:
    """The statements that load a variant's learned tokens.

    `replacements` has the text for each token that the script's prompts replace; `functions` are those that the script
    imports to read files.
    """

    lines: list[str] = field(default_factory=list)
    replacements: dict[str, str] = field(default_factory=dict)
    functions: dict[str, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def translated(self, text: str) -> str:
        """A prompt with the replacements."""
        parts, last = [], 0
        for found in occurrences(text, self.replacements):
            parts += [text[last : found.start], self.replacements[found.token]]
            last = found.end
        return "".join([*parts, text[last:]])


def token_code(variant: ResolvedVariant, place: ScriptPlace) -> TokenCode:
    """The code that loads all textual inversions of a variant."""
    code = TokenCode()
    for adapter in variant.adapters:
        if isinstance(adapter, ResolvedTextualInversion):
            _load(code, adapter, variant, place)
    if code.lines and variant.base.pipeline == "StableDiffusionXLPipeline":
        code.lines.insert(0, "# Otherwise the pooled embedding is taken at the largest id, that of a learned token.")
        end = "pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id"
        code.lines.insert(1, end)
    return code


def _load(code: TokenCode, adapter: ResolvedTextualInversion, variant: ResolvedVariant, place: ScriptPlace) -> None:
    source, token = adapter.source, adapter.token
    vectors = _vectors(adapter, variant.base)
    if not isinstance(source, Source) or vectors is None:
        where, named = place.file(source)
        if token is not None:
            named["token"] = token
        code.lines.append(call("pipeline.load_textual_inversion", where, **named))
        code.notes.append(f"adapter {adapter.name}: not on this machine, so how diffusers reads it is not checked")
        return
    several = "text_encoder_2" in _encoders(variant.base)
    plain = len(vectors) == 1 and source.commit is None and _is_plain(str(token), variant)
    file = _file(code, source, place)
    if plain and set(vectors) == {"text_encoder"} and not several:
        code.lines.append(call("pipeline.load_textual_inversion", file, token=token))
        return
    for component, each in vectors.items():
        words = [str(token)]
        if not plain:
            words = _words(adapter.name, each.count)
            code.replacements[str(token)] = " ".join(words)
        code.lines += _each_vector(code, component, each, words, file, several=several)


def _each_vector(
    code: TokenCode, component: str, vectors: Vectors, words: Sequence[str], file: Code, *, several: bool
) -> list[str]:
    tensor = _tensor(code, file, vectors.key)
    into: dict[str, object] = {}
    if several:
        tokenizer = component.replace("text_encoder", "tokenizer")
        into = {"text_encoder": Code(f"pipeline.{component}"), "tokenizer": Code(f"pipeline.{tokenizer}")}
    more = more_arguments(into)
    if len(words) == 1 and vectors.count > 1:
        return [f"pipeline.load_textual_inversion({tensor}, token={literal(words[0])}{more})"]
    return [
        f"vectors = torch.atleast_2d({tensor})",
        f"for word, vector in zip({literal(list(words))}, vectors):",
        f"    pipeline.load_textual_inversion({{word: vector}}{more})",
    ]


def _tensor(code: TokenCode, file: Code, key: str) -> str:
    """The expression that reads one tensor of the file."""
    if not re.search(r"\.(safetensors|sft)['\"]?\)?$", file.text):
        loaded = f"torch.load({file.text}, weights_only=True)"
        for part in _parts(key):
            loaded += f"[{literal(part)}]"
        return loaded
    code.functions["load_file"] = None
    return f"load_file({file.text})[{literal(key)}]"


def _parts(key: str) -> list[str]:
    if key == BARE:
        return []
    if key == "string_to_param.*":
        return ["string_to_param", "*"]
    return [key]


def _file(code: TokenCode, source: Source, place: ScriptPlace) -> Code:
    """The expression for the path of the embedding's file."""
    if source.commit is None:
        return place.path(source.path(source.files[0].name))
    code.functions["hf_hub_download"] = None
    arguments = f"{literal(source.address)}, {literal(source.files[0].name)}, revision={literal(source.commit)}"
    return Code(f"hf_hub_download({arguments})")


def _is_plain(token: str, variant: ResolvedVariant) -> bool:
    """Whether diffusers finds the token correctly: it is in brackets and lower case, and so in all prompts."""
    if _SAFE.fullmatch(token) is None:
        return False
    for prompt in variant.prompts:
        for text in prompt.texts.values():
            for found in occurrences(text, [token]):
                if text[found.start : found.end] != token:
                    return False
    return True


def _words(name: str, count: int) -> list[str]:
    """One word for each vector: `<name-a>`, `<name-b>` and so on."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    endings = list(_LETTERS)
    if count > len(_LETTERS):
        endings = ["".join(pair) for pair in product(_LETTERS, repeat=2)]
    return [f"<{stem}-{ending}>" for ending in endings[:count]]


def _encoders(base: ResolvedBase) -> tuple[str, ...]:
    modules = base_modules(base) or {}
    return tuple(name for name in modules if name.startswith("text_encoder"))


def _vectors(adapter: ResolvedTextualInversion, base: ResolvedBase) -> Mapping[str, Vectors] | None:
    """The vectors for each text encoder; None when the file or the base is not on this machine."""
    source, modules = adapter.source, base_modules(base)
    if not isinstance(source, Source) or modules is None:
        return None
    contents = read_contents(source.path(source.files[0].name))
    found = identify_embedding(contents.shapes, dtypes=contents.dtypes, token=str(adapter.token))
    if isinstance(found, str):
        return None
    return place_embedding(found, modules, target=adapter.target, label=f"adapter {adapter.name}")


def wrong_tokens(adapter: ResolvedLora) -> Iterator[str]:
    """A sentence about learned tokens in a LoRA's file."""
    if adapter.tokens:
        yield f"diffusers does not load the learned tokens in the file: {', '.join(adapter.tokens)}"
