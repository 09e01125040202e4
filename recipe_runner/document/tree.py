"""YAML text to a plain tree whose every key and value knows its place.

PyYAML's parser gives the events; the tree is built from them here, in a loop and not by recursion, because a recipe may
come from anyone: depth and size are checked while reading, and an alias costs nothing until its copies are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import yaml

from recipe_runner.document.scalars import LARGEST_INTEGER, NotFiniteError, TooLargeError, read_scalar
from recipe_runner.document.syntax import syntax_problem
from recipe_runner.document.text import SourceText
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeSyntaxError

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

DEEPEST = 32
"""How deep mappings and lists may stand in one another. The language needs nine."""
MOST_VALUES = 200_000
"""How many values a document may have after its aliases are written out."""

# libyaml's parser is nine times faster; the other gives the same events.
_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class TreeNode(NamedTuple):
    """A value and its place. Never changed: aliases, overrides and variants share nodes.

    `parts` are the nodes of a mapping's values or a list's elements, `keys` the places of a mapping's keys; `weight`
    counts the values, with those of aliases; `height` is 0 for a scalar.
    """

    value: Json
    place: Place
    parts: dict[str, TreeNode] | list[TreeNode] | None = None
    keys: dict[str, Place] | None = None
    weight: int = 1
    height: int = 0


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not been read."""

    place: Place
    anchor: str | None
    keys: dict[str, Place] | None
    parts: dict[str, TreeNode] | list[TreeNode]
    weight: int = 1
    height: int = 1
    key: str | None = None
    wants_key: bool = False
    flow: bool = False

    def closed(self) -> TreeNode:
        if isinstance(self.parts, dict):
            value: Json = {key: node.value for key, node in self.parts.items()}
        else:
            value = [node.value for node in self.parts]
        return TreeNode(value, self.place, self.parts, self.keys, self.weight, self.height)


@dataclass(slots=True)
class _Builder:
    """Builds one tree. `shift` is added to the columns of line 1, for a value that stands behind `path=`."""

    origin: SourceText
    shift: int = 0
    problems: list[Problem] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, TreeNode] = field(default_factory=dict)
    root: TreeNode | None = None
    documents: int = 0

    def place(self, event: yaml.Event) -> Place:
        # Events always have marks, which the library's types do not say.
        start: Any = event.start_mark
        end: Any = event.end_mark
        line, column = start.line + 1, start.column + 1 + (self.shift if start.line == 0 else 0)
        if end.line == start.line:
            width = end.column - start.column
        else:
            width = len(self.origin.line(line).rstrip()) - column + 1
        return Place(self.origin.source, line, column, max(1, width), self.origin.line(line))

    def problem(self, code: str, message: str, place: Place, hint: str) -> None:
        self.problems.append(Problem.at(place, code, message, hint))

    def stop(self, code: str, message: str, place: Place, hint: str) -> NoReturn:
        """Nothing after this can be read in earnest."""
        self.problem(code, message, place, hint)
        raise RecipeSyntaxError(*self.problems)

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self.scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self.start(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            closing = self.stack.pop()
            end = self.place(event)
            if closing.flow:
                # A block's end is where the next thing starts, so only a collection in brackets has a width.
                start = closing.place
                last = end.column if end.line == start.line else len(self.origin.line(start.line).rstrip())
                closing.place = start._replace(width=last + 1 - start.column)
            node = closing.closed()
            if closing.anchor is not None:
                self.anchors[closing.anchor] = node
            self.add(node)
        elif isinstance(event, yaml.AliasEvent):
            self.alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.document(event)

    def document(self, event: yaml.DocumentStartEvent) -> None:
        self.documents += 1
        place = self.place(event)
        if self.documents > 1:
            self.stop("E107", "a second document starts here", place, "One file holds one recipe: delete the `---`.")
        if event.version is not None and tuple(event.version) != (1, 2):
            version = ".".join(map(str, event.version))
            message = f"the file says it is YAML {version}; recipes are YAML 1.2"
            self.problem("E104", message, place, "Delete the `%YAML` line.")

    def scalar(self, event: yaml.ScalarEvent) -> None:
        place = self.place(event)
        plain = event.tag is None and event.implicit[0]
        if event.tag is not None:
            self.refuse_tag(event.tag, place)
        if self.stack and self.stack[-1].wants_key:
            self.key(event.value, place, plain=plain)
            return
        node = TreeNode(self.plain(event.value, place) if plain else event.value, place)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.add(node)

    def plain(self, text: str, place: Place) -> Json:
        try:
            return read_scalar(text)
        except NotFiniteError:
            self.problem("E117", f"`{_short(text)}` is not a finite number", place, "Write a finite number.")
        except TooLargeError:
            hint = f"The largest integer is {LARGEST_INTEGER}; quote it if it is a text."
            self.problem("E116", f"the integer `{_short(text)}` is too large", place, hint)
        return None

    def key(self, text: str, place: Place, *, plain: bool) -> None:
        mapping = self.stack[-1]
        if plain and text == "<<":
            self.problem("E110", "recipes know no merge key `<<`", place, "Write the keys out.")
        elif plain and not isinstance(_plain_key(text), str):
            what = f"the key `{_short(text)}` is read as {_kind(text)}, not as text" if text else "a key is missing"
            self.problem("E109", what, place, f'Put it in quotes: "{_short(text)}".' if text else "Write a name.")
        elif mapping.keys is not None and text in mapping.keys:
            first = mapping.keys[text]
            message = f"the key `{_short(text)}` is written twice in this mapping, first on line {first.line}"
            self.problem("E108", message, place, "Delete one of the two.")
        if mapping.keys is not None:
            mapping.keys.setdefault(text, place)
        mapping.key = text
        mapping.wants_key = False

    def start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        place = self.place(event)
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag is not None:
            self.refuse_tag(event.tag, place)
        if self.stack and self.stack[-1].wants_key:
            what = "mapping" if mapping else "list"
            hint = "If it is a text, put it in quotes. Recipes have no templates: `--set path=value` fills in values."
            self.stop("E109", f"a {what} stands where a key should", place, hint)
        if len(self.stack) >= DEEPEST:
            self.too_deep(place)
        parts: dict[str, TreeNode] | list[TreeNode] = {} if mapping else []
        keys: dict[str, Place] | None = {} if mapping else None
        flow = bool(event.flow_style)
        self.stack.append(_Open(place, event.anchor, keys, parts, wants_key=mapping, flow=flow))
        if event.anchor is not None:
            # An outer anchor of the same name ends here; until this one is closed it stands for nothing.
            self.anchors.pop(event.anchor, None)

    def alias(self, event: yaml.AliasEvent) -> None:
        place = self.place(event)
        anchor = str(event.anchor)
        name = _short(anchor)
        if self.stack and self.stack[-1].wants_key:
            self.stop("E109", f"the alias `*{name}` stands where a key should", place, "Write the key out.")
        if anchor not in self.anchors and any(open_.anchor == anchor for open_ in self.stack):
            self.stop("E112", f"the alias `*{name}` stands inside what it stands for", place, "Write the value out.")
        node = self.anchors.get(anchor)
        if node is None:
            hint = "An anchor `&name` must come before its alias; a text that starts with `*` needs quotes."
            self.stop("E104", f"the alias `*{name}` has no anchor `&{name}` before it", place, hint)
        if len(self.stack) + node.height > DEEPEST:
            self.too_deep(place)
        self.add(node, place)

    def add(self, node: TreeNode, place: Place | None = None) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        parent.weight += node.weight
        parent.height = max(parent.height, node.height + 1)
        if sum(open_.weight for open_ in self.stack) > MOST_VALUES:
            message = f"the document has more than {MOST_VALUES:,} values" + (" with its aliases" if place else "")
            hint = "Write fewer aliases of aliases." if place else "Split the recipe."
            self.stop("E113", message, place or node.place, hint)
        if isinstance(parent.parts, list):
            parent.parts.append(node)
        elif parent.key is not None:
            parent.parts.setdefault(parent.key, node)
            parent.wants_key = True

    def too_deep(self, place: Place) -> None:
        message = f"mappings and lists stand more than {DEEPEST} deep in one another"
        self.stop("E114", message, place, "No recipe needs such depth: look for brackets or hyphens too many.")

    def refuse_tag(self, tag: str, place: Place) -> None:
        name = tag.replace("tag:yaml.org,2002:", "!!")
        message = f"recipes know no tags, and this value has `{_short(name)}`"
        self.problem("E111", message, place, "Delete the tag; quotes make a value a text.")


def read_nodes(origin: SourceText, text: str | None = None, shift: int = 0) -> TreeNode | None:
    """The tree of the one document in `origin`, or of `text`, a part of it that starts at column `shift` + 1.

    Returns None where there is no document.

    Raises:
        RecipeSyntaxError: with every problem of the text up to the first that ends the reading; where none did, with
            the tree as its `rest`.
    """
    builder = _Builder(origin, shift)
    text = origin.text if text is None else text
    loader = _Loader(text)
    try:
        while loader.check_event():
            event: Any = loader.get_event()
            builder.take(event)
    except yaml.YAMLError as error:
        raise RecipeSyntaxError(*builder.problems, syntax_problem(error, origin, shift)) from error
    finally:
        loader.dispose()
    if builder.problems:
        flawed = RecipeSyntaxError(*builder.problems)
        flawed.rest = builder.root
        raise flawed
    return builder.root


def _plain_key(text: str) -> Json:
    try:
        return read_scalar(text)
    except ValueError:
        return 0


def _kind(text: str) -> str:
    value = _plain_key(text)
    return "null" if value is None else "true or false" if isinstance(value, bool) else "a number"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}…"  # noqa: PLR2004
