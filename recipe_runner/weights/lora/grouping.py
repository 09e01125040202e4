"""Gather the tensors of a LoRA file by the module of the base that their names mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from recipe_runner.weights.lora.dialects import Claim, claim
from recipe_runner.weights.lora.fit import ShapeMismatch, rank_of
from recipe_runner.weights.lora.indexed import indexed_modules, is_indexed, is_list, listed_modules
from recipe_runner.weights.lora.names import TEXT_ENCODERS, Names, Target, names_of
from recipe_runner.weights.lora.roles import ROLES, foreign_reason, kind_of, split_key
from recipe_runner.weights.modules import Modules, ModuleTable, Shape

_SECOND_COPY = "a second copy, under the original code's name, of the tensors for {}"


@dataclass(slots=True)
class TensorLedger:
    """The keys that are not used so far, each with its reason."""

    unmatched: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def refuse(self, keys: Iterable[str], reason: str) -> None:
        """Record keys that match nothing, which is an error."""
        self.unmatched.update(dict.fromkeys(keys, reason))

    def drop(self, keys: Iterable[str], reason: str) -> None:
        """Record keys that are left out on purpose."""
        self.dropped.update(dict.fromkeys(keys, reason))


@dataclass(slots=True)
class Group:
    """The tensors (role to key) of one target, gathered from one or several spellings of its name."""

    component: str
    target: Target
    layout: str
    tensors: dict[str, str]


@dataclass(frozen=True, slots=True)
class _File:
    """A file being read: its shapes, the base's modules and names, and the only component to load into, if any."""

    shapes: Mapping[str, Shape]
    table: ModuleTable
    names: Mapping[str, Names]
    target: str | None
    ledger: TensorLedger


def group_tensors(
    shapes: Mapping[str, Shape], table: ModuleTable, target: str | None, ledger: TensorLedger
) -> list[Group]:
    """All tensors by module, in the file's order; `ledger` gets every key whose name means no module."""
    names = {component: names_of(component, modules) for component, modules in table.items()}
    file = _File(shapes, table, names, target, ledger)
    kept = []
    for group in _numbered(file) if is_indexed(shapes) or is_list(shapes) else _named(file):
        if target in (None, group.component):
            kept.append(group)
        else:
            ledger.drop(group.tensors.values(), for_another(group.component, target))
    return kept


def for_another(component: str, target: str | None) -> str:
    """Why a tensor is left out when only `target` is loaded."""
    return f"it is for {component}, and the target is {target}"


def whole_shape(target: Target, modules: Modules) -> Shape:
    """Shape of the weight that all the target's pieces make together."""
    first, all_of_first = target.pieces[0]
    if all_of_first is None:
        return modules[first]
    total = 0
    for _, rows in target.pieces:
        total += sum(stop - start for start, stop in rows or ())
    return (total, *modules[first][1:])


def _numbered(file: _File) -> list[Group]:
    if is_list(file.shapes):
        placed, reasons = listed_modules(file.shapes, file.table, file.target)
    else:
        placed, reasons = indexed_modules(file.shapes, file.table)
    groups: dict[tuple[str, str], Group] = {}
    for key in file.shapes:
        if key in placed:
            component, module, role = placed[key]
            blank = Group(component, Target(((module, None),)), "cloneofsimo", {})
            groups.setdefault((component, module), blank).tensors[role] = key
        else:
            file.ledger.refuse([key], reasons.get(key, foreign_reason(key)))
    return list(groups.values())


def _named(file: _File) -> list[Group]:
    stems = _stems(file)
    claims = {stem: claim(stem, file.table) for stem in stems}
    silent = {stem: made for stem, made in claims.items() if made.component is None}
    chosen = file.target or _component_of_silent(file, silent, stems)
    found: dict[tuple[str, tuple[str, ...]], Group] = {}
    for stem, tensors in stems.items():
        made = claims[stem]
        group = _group(file, made, made.component or _component_of(file, chosen, made, tensors), tensors)
        if group is None:
            continue
        place = (group.component, group.target.modules)
        if place in found:
            group = _joined(found[place], group, file.ledger)
        found[place] = group
    return list(_without_copies(found.values(), file.ledger))


def _without_copies(groups: Collection[Group], ledger: TensorLedger) -> Iterator[Group]:
    """The groups without fused tensors whose modules all have tensors of their own, which diffusers prefers too."""
    own = {(group.component, group.target.modules[0]) for group in groups if not group.target.origin}
    for group in groups:
        modules = group.target.modules
        if len(modules) > 1 and own.issuperset((group.component, module) for module in modules):
            ledger.drop(group.tensors.values(), _SECOND_COPY.format(", ".join(modules)))
        else:
            yield group


def _stems(file: _File) -> dict[str, dict[str, str]]:
    """The tensors (role to key) of each module as the file names it."""
    stems: dict[str, dict[str, str]] = {}
    for key in file.shapes:
        split = split_key(key)
        if split is None:
            file.ledger.refuse([key], foreign_reason(key))
        elif split.role in stems.setdefault(split.stem, {}):
            other = stems[split.stem][split.role]
            file.ledger.refuse([key], f"{other} has the same role for the same module")
        else:
            stems[split.stem][split.role] = key
    return stems


def _group(file: _File, made: Claim, component: str, tensors: dict[str, str]) -> Group | None:
    """The module that a claim means, or None with the reason in the ledger."""
    if file.target not in (None, component):
        file.ledger.drop(tensors.values(), for_another(component, file.target))
    elif component not in file.names:
        file.ledger.refuse(tensors.values(), f"the base has no {component}")
    else:
        found = made.look_up(file.names[component])
        if found is not None:
            return Group(component, found, made.layout, tensors)
        if component in TEXT_ENCODERS and made.name.endswith("text_projection"):
            file.ledger.drop(tensors.values(), f"the base's {component} has no projection, and the pipeline reads none")
            return None
        file.ledger.refuse(tensors.values(), f"the base's {component} has no module {made.name}")
    return None


def _component_of_silent(file: _File, claims: Mapping[str, Claim], stems: Mapping[str, Mapping[str, str]]) -> str:
    """The component of names that name none: the one in which most of them fit by name and shape."""
    best, most = next(iter(file.names), "unet"), -1
    for component, names in file.names.items():
        fitting = 0
        for stem, made in claims.items():
            found = made.look_up(names)
            if found is not None:
                # A name counts for little, a name whose shapes fit for much.
                fitting += 1 + 1000 * _fits(file, found, stems[stem], names.modules)
        if fitting > most:
            best, most = component, fitting
    return best


def _component_of(file: _File, chosen: str, made: Claim, tensors: Mapping[str, str]) -> str:
    """The component of one name that names none: the file's, or the only other one that the tensors fit."""
    if file.target is not None:
        return chosen
    fitting = []
    for component, names in file.names.items():
        found = made.look_up(names)
        if found is not None and _fits(file, found, tensors, names.modules):
            fitting.append(component)
    return fitting[0] if len(fitting) == 1 else chosen


def _fits(file: _File, found: Target, tensors: Mapping[str, str], modules: Modules) -> bool:
    kind = kind_of(frozenset(tensors))
    if kind not in ROLES:
        return False
    try:
        rank_of(kind, {role: file.shapes[key] for role, key in tensors.items()}, whole_shape(found, modules))
    except ShapeMismatch:
        return False
    return True


def _joined(first: Group, second: Group, ledger: TensorLedger) -> Group:
    """One group of two spellings of one module: their roles together, or one of them when both have the same."""
    if not first.tensors.keys() & second.tensors.keys():
        first.tensors.update(second.tensors)
        return first
    kept, other = first, second
    if first.target.origin and not second.target.origin:
        kept, other = second, first
    module = kept.target.modules[0]
    if other.target.origin and not kept.target.origin:
        # Some SDXL files hold each module twice; diffusers too keeps the one under its own name.
        ledger.drop(other.tensors.values(), _SECOND_COPY.format(module))
    else:
        ledger.refuse(other.tensors.values(), f"the file has other tensors for {module}")
    return kept
