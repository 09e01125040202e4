"""Read YAML text into a plain tree with the place of every key and value.

PyYAML's parser gives the events. A loop, not a recursion, builds the tree from them, because recipes may come from
strangers: depth and size are checked while reading, and an alias shares its value instead of copying it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import yaml

from recipe_runner.document.scalars import LARGEST_INTEGER, NotFiniteError, TooLargeError, read_scalar
from recipe_runner.document.syntax import syntax_problem
from recipe_runner.document.text import SourceText
from recipe_runner.problems.place import NOWHERE, Place
from recipe_runner.problems.problem import Problem, RecipeSyntaxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recipe_runner.canonical import Json

DEEPEST = 32
"""How many levels mappings and lists may be nested. The language needs nine."""
_LONGEST = 40
"""Characters of a key, tag or number in a message."""
MOST_VALUES = 200_000
"""How many values a document may have, with a copy for each alias."""

# libyaml's parser is nine times faster than PyYAML's own; both give the same events.
_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


Parts: TypeAlias = "dict[str, TreeNode] | list[TreeNode]"


class TreeNode(NamedTuple):
    """A value and its place. Do not change a node: aliases, overrides and variants share it.

    `parts` are the nodes of a mapping's values or a list's elements, `keys` the places of a mapping's keys; `weight` is
    the number of values, including those of aliases; `height` is 0 for a scalar.
    """

    value: Json
    place: Place
    parts: Parts | None = None
    keys: dict[str, Place] | None = None
    weight: int = 1
    height: int = 0

    def with_parts(self, parts: Parts) -> TreeNode:
        """The node with other parts, and with the value that they make."""
        return self._replace(value=_value_of(parts), parts=parts)

    def named_parts(self) -> Iterator[tuple[str | int, TreeNode]]:
        """Each part with its key or index; nothing for a scalar."""
        if isinstance(self.parts, dict):
            yield from self.parts.items()
        elif self.parts is not None:
            yield from enumerate(self.parts)

    def key_place(self, name: str | int) -> Place:
        """The place of a key; `NOWHERE` for an index."""
        if self.keys is None or isinstance(name, int):
            return NOWHERE
        return self.keys.get(name, NOWHERE)


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not been read."""

    place: Place
    anchor: str | None
    keys: dict[str, Place] | None
    parts: Parts
    weight: int = 1
    height: int = 1
    key: str | None = None
    wants_key: bool = False
    flow: bool = False

    def closed(self) -> TreeNode:
        return TreeNode(_value_of(self.parts), self.place, self.parts, self.keys, self.weight, self.height)


def _value_of(parts: Parts) -> Json:
    if isinstance(parts, dict):
        return {key: node.value for key, node in parts.items()}
    return [node.value for node in parts]


@dataclass(slots=True)
class _Builder:
    """Builds one tree. `shift` is added to the columns of line 1, for a value after `path=`."""

    origin: SourceText
    shift: int = 0
    problems: list[Problem] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, TreeNode] = field(default_factory=dict)
    root: TreeNode | None = None
    documents: int = 0

    def place(self, event: yaml.Event) -> Place:
        # Events always have marks, although the library's types allow None.
        start: Any = event.start_mark
        end: Any = event.end_mark
        line, column = start.line + 1, start.column + 1
        if start.line == 0:
            column += self.shift
        if end.line == start.line:
            width = end.column - start.column
        else:
            width = len(self.origin.line(line).rstrip()) - column + 1
        return Place(self.origin.source, line, column, max(1, width), self.origin.line(line))

    def problem(self, code: str, message: str, place: Place, hint: str) -> None:
        self.problems.append(Problem.at(place, code, message, hint))

    def stop(self, code: str, message: str, place: Place, hint: str) -> NoReturn:
        """Raise, because nothing after this can be read reliably."""
        self.problem(code, message, place, hint)
        raise RecipeSyntaxError(*self.problems)

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self.scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self.start(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self.end(self.place(event))
        elif isinstance(event, yaml.AliasEvent):
            self.alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.document(event)

    def end(self, end: Place) -> None:
        """Close the last open mapping or list, at the place of its end."""
        closing = self.stack.pop()
        if closing.flow:
            # A block ends where the next value starts, so only a collection in brackets has a width.
            start = closing.place
            last = end.column
            if end.line != start.line:
                last = len(self.origin.line(start.line).rstrip())
            closing.place = start._replace(width=last + 1 - start.column)
        node = closing.closed()
        if closing.anchor is not None:
            self.anchors[closing.anchor] = node
        self.add(node)

    def document(self, event: yaml.DocumentStartEvent) -> None:
        self.documents += 1
        place = self.place(event)
        if self.documents > 1:
            self.stop("E107", "a second document starts here", place, "One file holds one recipe: delete the `---`.")
        if event.version is not None and tuple(event.version) != (1, 2):
            version = ".".join(map(str, event.version))
            message = f"the file declares YAML {version}; recipes are YAML 1.2"
            self.problem("E104", message, place, "Delete the `%YAML` line.")

    def scalar(self, event: yaml.ScalarEvent) -> None:
        place = self.place(event)
        plain = event.tag is None and event.implicit[0]
        if event.tag is not None:
            self.refuse_tag(event.tag, place)
        if self.stack and self.stack[-1].wants_key:
            self.key(event.value, place, plain=plain)
            return
        value: Json = event.value
        if plain:
            value = self.plain(event.value, place)
        node = TreeNode(value, place)
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
            self.problem("E110", "merge keys (`<<`) are not supported", place, "Write the keys out.")
        elif plain and not text:
            self.problem("E109", "a key is missing", place, "Write a name.")
        elif plain and not isinstance(_plain_key(text), str):
            message = f"the key `{_short(text)}` is read as {_kind(text)}, not as text"
            self.problem("E109", message, place, f'Put it in quotes: "{_short(text)}".')
        elif mapping.keys is not None and text in mapping.keys:
            first = mapping.keys[text]
            message = f"duplicate key `{_short(text)}` (first on line {first.line})"
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
            hint = "If it is a text, put it in quotes. Recipes have no templates: set values with `--set path=value`."
            self.stop("E109", f"found a {what}, expected a key", place, hint)
        if len(self.stack) >= DEEPEST:
            self.too_deep(place)
        opened = _Open(place, event.anchor, None, [], flow=bool(event.flow_style))
        if mapping:
            opened.keys, opened.parts, opened.wants_key = {}, {}, True
        self.stack.append(opened)
        if event.anchor is not None:
            # An outer anchor of the same name ends here; until this one is closed the name has no value.
            self.anchors.pop(event.anchor, None)

    def alias(self, event: yaml.AliasEvent) -> None:
        place = self.place(event)
        anchor = str(event.anchor)
        name = _short(anchor)
        if self.stack and self.stack[-1].wants_key:
            self.stop("E109", f"found the alias `*{name}`, expected a key", place, "Write the key out.")
        if anchor not in self.anchors and any(open_.anchor == anchor for open_ in self.stack):
            self.stop("E112", f"the alias `*{name}` is inside its own anchor `&{name}`", place, "Write the value out.")
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
            self.too_many(node, place)
        if isinstance(parent.parts, list):
            parent.parts.append(node)
        elif parent.key is not None:
            parent.parts.setdefault(parent.key, node)
            parent.wants_key = True

    def too_many(self, node: TreeNode, alias: Place | None) -> NoReturn:
        message = f"the document has more than {MOST_VALUES:,} values"
        if alias is None:
            self.stop("E113", message, node.place, "Split the recipe.")
        self.stop("E113", f"{message} with its aliases", alias, "Write fewer aliases of aliases.")

    def too_deep(self, place: Place) -> None:
        message = f"mappings and lists are nested more than {DEEPEST} levels deep"
        self.stop("E114", message, place, "No recipe needs so many levels: look for surplus brackets or hyphens.")

    def refuse_tag(self, tag: str, place: Place) -> None:
        name = tag.replace("tag:yaml.org,2002:", "!!")
        message = f"the tag `{_short(name)}` is not supported"
        self.problem("E111", message, place, "Delete the tag; quote a value to make it a text.")


def read_nodes(origin: SourceText, text: str | None = None, shift: int = 0) -> TreeNode | None:
    """The tree of the one document in `origin`, or in `text`, a part of it that starts at column `shift` + 1.

    Returns None when there is no document.

    Raises:
        RecipeSyntaxError: with all problems up to the first one that stops the parser; when none does, its `rest` is
            the tree.
    """
    builder = _Builder(origin, shift)
    if text is None:
        text = origin.text
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
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return "a number"


def _short(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 3]}…"
