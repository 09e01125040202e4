"""`report.html`: a run on one page that needs nothing but its folder. No scripts; every text is escaped."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from recipe_runner.canonical import Json, canonical
from recipe_runner.record.labels import axis_names, value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from recipe_runner.record.environment import Environment
    from recipe_runner.record.manifest import ImageRecord, Manifest

_SHORT = 12
_TINY = 160
_POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --grey: #656d76; --rule: #d7dbe0; --paper: #fff; --shade: #f6f8fa;
  --bad: #b42318 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --grey: #8d96a0; --rule: #30363d; --paper: #0d1117; --shade: #161b22; --bad: #ff7b72 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem; max-width: max-content; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, sans-serif }
h1 { margin: 0 0 .3rem; font-size: 1.6rem } h2 { margin: 2.5rem 0 .6rem; font-size: 1.15rem }
p { margin: .3rem 0 } .grey { color: var(--grey) } .bad { color: var(--bad) }
code { font: .92em ui-monospace, monospace; overflow-wrap: anywhere }
.scroll { overflow-x: auto } table { border-collapse: collapse }
table + table { margin-top: 1.2rem }
th, td { padding: .35rem .5rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule) }
th { font-weight: 600 } thead th { background: var(--shade) }
.prompt { min-width: 12rem; max-width: 20rem; font-weight: 400; overflow-wrap: anywhere; white-space: pre-wrap }
.images td { padding: .25rem } .missing { color: var(--grey); background: var(--shade) }
img { display: block; max-width: 384px; height: auto; background: var(--shade) }
img.tiny { image-rendering: pixelated } figure { margin: 0 } figcaption { font-size: .8rem; color: var(--grey) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0 } dt { color: var(--grey) }
dd { margin: 0 }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """What a prompt id stands for."""

    prompt: str
    negative_prompt: str | None = None


def report_html(manifest: Manifest, prompts: Mapping[str, PromptText]) -> bytes:
    """The page as UTF-8; same manifest and prompts, same bytes.

    Args:
        manifest: the manifest beside which the page will lie: images are linked by their paths in it.
        prompts: the texts of the prompt ids; an id that is not here is shown alone.
    """
    title = escape(manifest.name)
    count = f"{len(manifest.images)} image{'' if len(manifest.images) == 1 else 's'}"
    parts = (
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # The page holds words of strangers: whatever they are, nothing is fetched or run.
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f'<p class="grey">{count} · plan <code>{manifest.plan_digest[:_SHORT]}</code></p>',
        *_failure(manifest),
        '<div class="scroll">',
        *_images(manifest, prompts),
        "</div>",
        "<h2>Inputs</h2>",
        *_inputs(manifest),
        "<h2>Environment</h2>",
        *_environment(manifest.environment),
        *_digests(manifest),
        "</body></html>",
    )
    return ("\n".join(parts) + "\n").encode("utf-8", "replace")


def _failure(manifest: Manifest) -> Iterable[str]:
    if manifest.failure is not None:
        yield f'<p class="bad">Not complete: {escape(manifest.failure.code)}: {escape(manifest.failure.message)}</p>'


def _images(manifest: Manifest, prompts: Mapping[str, PromptText]) -> Iterable[str]:
    variants = {canonical(image.variant): image.variant for image in manifest.images}
    rows = dict.fromkeys((image.prompt, image.seed) for image in manifest.images)
    found = {(canonical(image.variant), image.prompt, image.seed): image for image in manifest.images}
    axes = axis_names(list(next(iter(variants.values()), {})))
    yield '<table class="images"><thead>'
    for path, name in axes.items():
        cells = "".join(f"<th>{escape(value_text(variant[path]))}</th>" for variant in variants.values())
        yield f'<tr><th colspan="2" title="{escape(path)}">{escape(name)}</th>{cells}</tr>'
    yield "</thead><tbody>"
    last = None
    for prompt, seed in rows:
        label = _prompt(prompt, prompts.get(prompt)) if prompt != last else ""
        last = prompt
        cells = "".join(_cell(found.get((variant, prompt, seed))) for variant in variants)
        yield f'<tr><th class="prompt">{label}</th><th>seed {seed}</th>{cells}</tr>'
    yield "</tbody></table>"


def _prompt(prompt_id: str, text: PromptText | None) -> str:
    label = f"<strong>{escape(prompt_id)}</strong>"
    if text is None:
        return label
    negative = f'\n<span class="grey">not: {escape(text.negative_prompt)}</span>' if text.negative_prompt else ""
    return f"{label}\n{escape(text.prompt)}{negative}"


def _cell(image: ImageRecord | None) -> str:
    if image is None:
        return '<td class="missing">not made</td>'
    # A whole number of times its size, so that every pixel of a tiny picture is a square.
    longer = max(image.width, image.height)
    times = -(-_TINY // longer) if longer < _TINY else 1
    tiny = ' class="tiny"' if times > 1 else ""
    label = escape(f"{image.prompt}, seed {image.seed}")
    address = quote(image.path)
    elsewhere = " · other environment" if image.environment is not None else ""
    return (
        f'<td><figure><a href="{address}"><img{tiny} src="{address}" alt="{label}" loading="lazy" '
        f'width="{image.width * times}" height="{image.height * times}"></a>'
        f'<figcaption title="pixels {image.pixel_sha256}">{image.width}&times;{image.height} · '
        f"{image.pixel_sha256[:_SHORT]}{elsewhere}</figcaption></figure></td>"
    )


def _inputs(manifest: Manifest) -> Iterable[str]:
    yield "<table><thead><tr><th>Role</th><th>Address</th><th>Commit</th><th>Digest</th></tr></thead><tbody>"
    for source in manifest.sources:
        commit = escape((source.commit or "")[:_SHORT])
        yield (
            f"<tr><td>{escape(source.role)}</td><td><code>{escape(source.address)}</code></td>"
            f"<td><code>{commit}</code></td><td><code>{source.digest[:_SHORT]}</code></td></tr>"
        )
    yield "</tbody></table>"
    if manifest.adapters:
        yield "<table><thead><tr><th>Adapter</th><th>Kind</th><th>Tensors</th><th>Scales</th></tr></thead><tbody>"
        for adapter in manifest.adapters:
            tensors = ", ".join(f"{name} {match.matched}/{match.total}" for name, match in adapter.tensors.items())
            scales = "; ".join(value_text(scale) for scale in adapter.scales)
            yield (
                f"<tr><td>{escape(adapter.name)}</td><td>{escape(adapter.kind)}</td>"
                f"<td>{escape(tensors)}</td><td>{escape(scales)}</td></tr>"
            )
        yield "</tbody></table>"


def _environment(environment: Environment) -> Iterable[str]:
    values: dict[str, Json] = {"device": environment.device, "reproducibility": environment.reproducibility}
    return _list({**values, **environment.versions, **environment.determinism})


def _digests(manifest: Manifest) -> Iterable[str]:
    yield "<h2>Identity</h2>"
    values: dict[str, Json] = {"plan": manifest.plan_digest, "recipe": manifest.recipe_sha256}
    if manifest.overrides:
        values["overrides"] = ", ".join(manifest.overrides)
    if manifest.lock_sha256:
        values["lock"] = manifest.lock_sha256
    if manifest.git is not None:
        values["git"] = f"{manifest.git.commit}{' with changes' if manifest.git.dirty else ''}"
    yield from _list(values)


def _list(values: Mapping[str, Json]) -> Iterable[str]:
    yield "<dl>"
    for name, value in values.items():
        yield f"<dt>{escape(name)}</dt><dd><code>{escape(value_text(value))}</code></dd>"
    yield "</dl>"
