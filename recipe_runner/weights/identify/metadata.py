"""What a trainer wrote into a file: `ss_*` of Kohya's scripts, `modelspec.*`, and the trigger words in them.

It is shown and never believed: what a file is, its shapes tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

LONGEST_VALUE = 500
_MOST_WORDS = 12
_REPEATS = re.compile(r"^\d+_")
_PHRASES = ("modelspec.trigger_phrase", "trigger_phrase", "trigger_word", "ss_trigger_words", "instance_prompt",
            "ssmd_keywords")  # fmt: skip


def shown(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata, values of more than 500 characters (thumbnails, buckets, tag lists) cut short."""
    return {key: cut(value) for key, value in metadata.items()}


def cut(text: str) -> str:
    """Text of at most 500 characters and what was left out."""
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"


def trigger_words(metadata: Mapping[str, str]) -> list[str]:
    """Words that the file was trained to answer to: stated phrases, then the data set's concepts and frequent tags."""
    words: dict[str, None] = {}
    for key in _PHRASES:
        for word in metadata.get(key, "").split(","):
            if word.strip():
                words[word.strip()] = None
    for word in (*_concepts(metadata), *_tags(metadata)):
        if len(words) >= _MOST_WORDS:
            break
        words[word] = None
    return list(words)


def _tags(metadata: Mapping[str, str]) -> list[str]:
    """The most frequent captions' tags."""
    counts: dict[str, int] = {}
    for tags in _tree(metadata, "ss_tag_frequency").values():
        if isinstance(tags, dict):
            for tag, count in tags.items():
                if isinstance(count, int):
                    counts[tag.strip()] = counts.get(tag.strip(), 0) + count
    return sorted((tag for tag in counts if tag), key=lambda tag: -counts[tag])[:_MOST_WORDS]


def _concepts(metadata: Mapping[str, str]) -> Iterator[str]:
    """Names of the data set's folders without their repeats: Kohya's caption where a picture has none."""
    tagged = _tree(metadata, "ss_tag_frequency")
    for folder in _tree(metadata, "ss_dataset_dirs"):
        name = _REPEATS.sub("", folder).strip()
        if name and not tagged.get(folder):
            yield name


def _tree(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        tree = json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}
