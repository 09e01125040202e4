"""The metadata that a trainer wrote into a file: Kohya's `ss_*`, `modelspec.*`, and the trigger words in them.

Metadata is only shown. It never decides what a file is, because it can be wrong.
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
    """The metadata, with values of more than 500 characters (thumbnails, buckets, tag lists) cut short."""
    return {key: cut(value) for key, value in metadata.items()}


def cut(text: str) -> str:
    """The first 500 characters of a text, and the length of a longer one."""
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"


def trigger_words(metadata: Mapping[str, str]) -> list[str]:
    """Words that the file was trained on: stated phrases, then the concepts and frequent tags of the data set."""
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
    """The most frequent tags of the captions."""
    counts: dict[str, int] = {}
    for tags in _tree(metadata, "ss_tag_frequency").values():
        if not isinstance(tags, dict):
            continue
        for tag, count in tags.items():
            word = tag.strip()
            if word and isinstance(count, int):
                counts[word] = counts.get(word, 0) + count
    return sorted(counts, key=lambda word: -counts[word])[:_MOST_WORDS]


def _concepts(metadata: Mapping[str, str]) -> Iterator[str]:
    """Names of the data set's folders without their repeats. Kohya uses them for images without a caption."""
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
