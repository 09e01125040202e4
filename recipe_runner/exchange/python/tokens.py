"""Textual inversions as diffusers loads them, and prompts as it has to read them.

diffusers looks for tokens in lower case, replaces parts of words, and walks a set of them. A token in brackets and
lower case is safe from that and loaded as it is. Any other becomes one such token for each of its vectors, and the
script's prompts say them all, which is what the recipe means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recipe_runner.exchange.python.code import Code, Place, call, literal
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.plan.resolved import ResolvedBase, ResolvedLora, ResolvedTextualInversion
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

    `spoken` is what stands for a token in the script's prompts, where that is not the token; `functions` are what the
    script imports to read files.
    """

    lines: list[str] = field(default_factory=list)
    spoken: dict[str, str] = field(default_factory=dict)
    functions: dict[str, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def said(self, text: str) -> str:
        """A prompt as the script says it."""
        parts, last = [], 0
        for found in occurrences(text, self.spoken):
            parts += [text[last : found.start], self.spoken[found.token]]
            last = found.end
        return "".join([*parts, text[last:]])


def token_code(variant: ResolvedVariant, place: Place) -> TokenCode:
    """Load every textual inversion of a variant."""
    code = TokenCode()
    for adapter in variant.adapters:
        if isinstance(adapter, ResolvedTextualInversion):
            _load(code, adapter, variant, place)
    if code.lines and variant.base.pipeline == "StableDiffusionXLPipeline":
        code.lines.insert(0, "# Else the pooled embedding is taken at the largest id, which is a learned token's.")
        end = "pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id"
        code.lines.insert(1, end)
    return code


def _load(code: TokenCode, adapter: ResolvedTextualInversion, variant: ResolvedVariant, place: Place) -> None:
    source, token = adapter.source, adapter.token
    vectors = _vectors(adapter, variant.base)
    if not isinstance(source, Source) or vectors is None:
        where, named = place.file(source)
        named |= {} if token is None else {"token": token}
        code.lines.append(call("pipeline.load_textual_inversion", where, **named))
        code.notes.append(f"adapter {adapter.name}: not on this machine, so how diffusers reads it is not checked")
        return
    path = source.path(source.files[0].name)
    texts = [text for prompt in variant.prompts for text in prompt.texts.values()]
    plain = len(vectors) == 1 and source.commit is None and _is_plain(str(token), texts)
    if plain and set(vectors) == {"text_encoder"} and "text_encoder_2" not in _encoders(variant.base):
        code.lines.append(call("pipeline.load_textual_inversion", place.path(path), token=token))
        return
    file = place.path(path) if source.commit is None else _downloaded(code, source)
    for component, each in vectors.items():
        words = [str(token)] if plain else _words(adapter.name, each.count)
        code.spoken |= {} if plain else {str(token): " ".join(words)}
        code.lines += _each_vector(
            code, component, each, words, file, several="text_encoder_2" in _encoders(variant.base)
        )


def _each_vector(
    code: TokenCode, component: str, vectors: Vectors, words: Sequence[str], file: Code, *, several: bool
) -> list[str]:
    tensor = _tensor(code, file, vectors.key)
    into = {}
    if several:
        tokenizer = component.replace("text_encoder", "tokenizer")
        into = {"text_encoder": Code(f"pipeline.{component}"), "tokenizer": Code(f"pipeline.{tokenizer}")}
    more = "".join(f", {key}={literal(value)}" for key, value in into.items())
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
        return loaded + "".join(f"[{literal(part)}]" for part in ([] if key == BARE else _parts(key)))
    code.functions["load_file"] = None
    return f"load_file({file.text})[{literal(key)}]"


def _parts(key: str) -> list[str]:
    return ["string_to_param", "*"] if key == "string_to_param.*" else [key]


def _downloaded(code: TokenCode, source: Source) -> Code:
    code.functions["hf_hub_download"] = None
    arguments = f"{literal(source.address)}, {literal(source.files[0].name)}, revision={literal(source.commit)}"
    return Code(f"hf_hub_download({arguments})")


def _is_plain(token: str, texts: Sequence[str]) -> bool:
    """Whether diffusers finds just this token: in brackets, in lower case, and in no other case in any prompt."""
    spelled = {text[found.start : found.end] for text in texts for found in occurrences(text, [token])}
    return _SAFE.fullmatch(token) is not None and spelled <= {token}


def _words(name: str, count: int) -> list[str]:
    """One word for each vector: `<name-a>`, `<name-b>` and so on."""
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    endings = list(_LETTERS) if count <= len(_LETTERS) else [a + b for a in _LETTERS for b in _LETTERS]
    return [f"<{stem}-{ending}>" for ending in endings[:count]]


def _encoders(base: ResolvedBase) -> tuple[str, ...]:
    modules = base_modules(base)
    return () if modules is None else tuple(name for name in modules if name.startswith("text_encoder"))


def _vectors(adapter: ResolvedTextualInversion, base: ResolvedBase) -> Mapping[str, Vectors] | None:
    """The tensor for each text encoder; None while the file or the base is not here."""
    source, modules = adapter.source, base_modules(base)
    if not isinstance(source, Source) or modules is None:
        return None
    contents = read_contents(source.path(source.files[0].name))
    found = identify_embedding(contents.shapes, dtypes=contents.dtypes, token=str(adapter.token))
    if isinstance(found, str):
        return None
    return place_embedding(found, modules, target=adapter.target, label=f"adapter {adapter.name}")


def wrong_tokens(adapter: ResolvedLora) -> Iterator[str]:
    """Learned tokens inside a LoRA's file."""
    if adapter.tokens:
        yield f"diffusers does not load the learned tokens in the file: {', '.join(adapter.tokens)}"
