"""Propose the rules of ``map_path`` that make Stash's files readable on this machine.

A rule is proposed only if files prove it: they are below its target, under the same relative path,
with the same size.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from haven.setup.file_search import default_roots, find_files, is_skipped, loose, within
from haven.setup.known_files import KnownFile
from vlm_engine import PathKind, Place, map_path, place_of, rule_for

Rules: TypeAlias = tuple[tuple[str, str], ...]
"""Folders of Stash's, each with the same folder on this machine."""

_SEARCH_SHARE = 0.8  # of the time; the rest is for conclusions
_DELETED_SHARE = 0.25  # of the files that a rule concerns: they may be gone since the last scan
_MOST_COMPARED = 1000
_MOST_TARGETS = 12
_MOST_RULES = 8  # for one library
_NOT_PLAIN = re.compile(r'[;；؛\n\r"]|=>|^[{\[]')


def propose_rules(
    missing: Sequence[KnownFile],
    libraries: Sequence[str],
    search_roots: Sequence[Path] | None = None,
    limit_s: float = 5.0,
    *,
    readable: Sequence[KnownFile] = (),
    rules: Sequence[tuple[str, str]] = (),
) -> Rules:
    """Return all rules that the user should set, or nothing if none can be proposed. Search the
    disks, for ``limit_s`` seconds at most.

    ``missing``: files that cannot be read under ``rules``, the rules of now.
    ``libraries``: Stash's library folders, as far as known. A rule is for one of them, or for
    several that lie side by side here and there, or else for a folder in one.
    ``search_roots``: the folders in which the files may be, by default this machine's disks.
    ``readable``: files that can be read now; no proposed rule changes that.

    Rules of now stay, unless they lead to missing files only, and a proposed one makes those
    readable. Of several copies of the files, the one that has more of them counts, or else the
    less deep. If copies are alike in both, nothing is proposed for them.
    """
    now = _Now(
        tuple(library for library in libraries if place_of(library).parts),
        tuple(dict.fromkeys(readable)),
        tuple(rules),
        frozenset(rule for file in readable if (rule := rule_for(file.path, rules))),
    )
    roots = default_roots() if search_roots is None else search_roots
    return within(limit_s, partial(_proposed, missing, roots, limit_s, now)) or ()


def describe_rules(rules: Iterable[tuple[str, str]]) -> str:
    r"""Return rules as the setting Paths takes them: ``/data => /mnt/nas; D:\media => /mnt/d``."""
    rules = tuple(rules)
    if any(_NOT_PLAIN.search(folder) for rule in rules for folder in rule):
        return json.dumps(dict(rules), ensure_ascii=False)
    return "; ".join(f"{folder} => {target}" for folder, target in rules)


@dataclass(frozen=True, slots=True)
class _Missing:
    """A missing file, and the files here that have its name and size."""

    file: KnownFile
    place: Place
    found: tuple[Path, ...]

    def folder(self, length: int) -> str:
        """Return the first ``length`` parts of its path, with Stash's slashes."""
        slash = "\\" if self.place.is_windows and "\\" in self.file.path else "/"
        start = {PathKind.ABSOLUTE: "/", PathKind.SHARE: slash * 2}.get(self.place.kind, "")
        folder = start + slash.join(self.place.parts[:length])
        return folder + slash if folder.endswith(":") and not start else folder

    def is_at(self, folder: str, target: Path) -> bool:
        """Return True if this rule makes it readable."""
        return _has(map_path(self.file.path, [(folder, str(target))]), self.file.size_bytes)

    def is_in_folder_of_this_name(self, folder: str, target: Path) -> bool:
        """Return True if that rule also leads to a folder of the same name."""
        here = Path(map_path(self.file.path, [(folder, str(target))]))
        return loose(here.parent.name) == loose(self.place.parts[-2])


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule for the folder of the first ``length`` parts of ``files``, which it makes readable."""

    folder: str
    target: Path
    length: int
    files: frozenset[_Missing]

    @property
    def pair(self) -> tuple[str, str]:
        """The rule for ``map_path``."""
        return self.folder, str(self.target)

    @property
    def rank(self) -> tuple[int, int]:
        """A key by which better rules for the same files come first."""
        return -len(self.files), len(self.target.parts)


@dataclass(frozen=True, slots=True)
class _Now:
    """The libraries, readable files and rules as they are. ``working``: the rules that make a
    readable file so.
    """

    libraries: tuple[str, ...]
    readable: tuple[KnownFile, ...]
    rules: Rules
    working: frozenset[tuple[str, str]]

    def top_of(self, file: _Missing) -> int:
        """Return the least number of parts of a folder that a rule for ``file`` may be about."""
        rule = rule_for(file.file.path, self.rules)
        least = len(place_of(rule[0]).parts) + 1 if rule in self.working and rule else 0
        places = map(place_of, self.libraries)
        lengths = [len(place.parts) for place in places if file.place.is_below(place)]
        outermost = 2 if file.place.kind is PathKind.SHARE else 1
        return max(least, min(lengths, default=outermost))

    def allows(self, rule: _Rule) -> bool:
        """Return True if every readable file stays so, and no working rule is replaced."""
        is_taken = any(_is_same(folder, rule.folder) for folder, _ in self.working)
        return (
            not is_taken
            and not _hides(map_path(rule.folder, self.rules), rule.target)
            and all(self._stays(file, rule.pair) for file in self.readable)
        )

    def _stays(self, file: KnownFile, pair: tuple[str, str]) -> bool:
        before, after = map_path(file.path, self.rules), map_path(file.path, [pair, *self.rules])
        return after == before or _has(after, file.size_bytes)

    def has_library(self, folder: str) -> bool:
        """Return True if ``folder`` is one of Stash's libraries."""
        return any(_is_same(folder, library) for library in self.libraries)

    def with_rules(self, found: Collection[_Rule]) -> Rules:
        """Return the rules of now and those found, without those that are replaced."""
        files = {file.file.path for rule in found for file in rule.files}
        replaced = {rule_for(path, self.rules) for path in files} - self.working
        kept = (
            rule
            for rule in self.rules
            if rule not in replaced and not any(_is_same(rule[0], each.folder) for each in found)
        )
        return *sorted(rule.pair for rule in found), *kept


def _hides(folder: str, target: Path) -> bool:
    """Return True if ``folder`` is here and has something that ``target`` lacks."""
    try:
        with os.scandir(folder) as entries:
            return any(
                not is_skipped(loose(entry.name)) and not (target / entry.name).exists()
                for entry, _ in zip(entries, range(_MOST_COMPARED), strict=False)
            )
    except (OSError, ValueError):
        return False


def _is_same(one: str, other: str) -> bool:
    first, second = place_of(one), place_of(other)
    return first.kind is second.kind and first.keys() == second.keys()


def _has(path: str, size_bytes: int) -> bool:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return False
    as_this_user = os.access in os.supports_effective_ids
    is_open = stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK, effective_ids=as_this_user)
    return is_open and size_bytes in (0, status.st_size)


def _proposed(
    missing: Sequence[KnownFile], roots: Sequence[Path], limit_s: float, now: _Now
) -> Rules:
    absent = [file for file in missing if not _has(map_path(file.path, now.rules), file.size_bytes)]
    files = _searched(absent, roots, limit_s * _SEARCH_SHARE)
    libraries: dict[tuple[PathKind, tuple[str, ...]], list[_Missing]] = {}
    for file in files:
        top = now.top_of(file)
        if top < len(file.place.parts):
            key = (file.place.kind, file.place.keys()[:top])
            libraries.setdefault(key, []).append(file)
    found: list[_Rule] = []
    for (_, parts), group in libraries.items():
        rules = _rules_below(now, group, len(parts))
        found += sorted(rules, key=lambda rule: rule.rank)[:_MOST_RULES]
    found = _merged(now, found, files)
    return now.with_rules(found) if found else ()


def _searched(
    missing: Sequence[KnownFile], roots: Sequence[Path], limit_s: float
) -> list[_Missing]:
    """Return each file that can be proof, with the places here that may be its own."""
    places = {file: place_of(file.path) for file in missing if file.size_bytes}
    places = {
        file: place
        for file, place in places.items()
        if place.parts and place.kind is not PathKind.RELATIVE
    }
    sizes: dict[str, set[int]] = {}
    for file, place in places.items():
        sizes.setdefault(loose(place.parts[-1]), set()).add(file.size_bytes)
    folders = {loose(part) for place in places.values() for part in place.parts[:-1]}
    found = find_files(sizes, folders, roots, limit_s)
    return [
        _Missing(file, place, tuple(found.get((loose(place.parts[-1]), file.size_bytes), ())))
        for file, place in places.items()
    ]


def _rules_below(
    now: _Now, files: Sequence[_Missing], length: int, *, in_a_rule: bool = False
) -> list[_Rule]:
    """Return rules for ``files``, which have the first ``length`` parts in common.

    ``in_a_rule``: a shorter rule concerns the folder too, so this one needs more proof.
    """
    plans = [
        plan
        for rule in _candidates(files, length)
        if (plan := _with_exceptions(now, rule, files, in_a_rule=in_a_rule))
    ]
    if plans:
        best = plans[0][0]
        rivals = [plan[0] for plan in plans[1:] if plan[0].rank == best.rank]
        if not rivals:
            return plans[0]
        if any(best.files & rival.files for rival in rivals):
            return []
    return [
        rule
        for group in _by_folder(files, length)
        for rule in _rules_below(now, group, length + 1, in_a_rule=in_a_rule)
    ]


def _candidates(files: Sequence[_Missing], length: int) -> list[_Rule]:
    """Return a rule for each place that has some of the files, the best first."""
    folder = files[0].folder(length)
    fitting: dict[Path, set[_Missing]] = {}
    for file in files:
        depth = len(file.place.parts) - length
        for path in file.found:
            if depth < len(path.parts):
                target = path.parents[depth - 1]
                if file.is_at(folder, target):
                    fitting.setdefault(target, set()).add(file)
    rules = [_Rule(folder, path, length, frozenset(fits)) for path, fits in fitting.items()]
    rules.sort(key=lambda rule: (rule.rank, rule.target))
    return list(_without_twins(rules))[:_MOST_TARGETS]


def _without_twins(rules: Iterable[_Rule]) -> Iterator[_Rule]:
    """Leave out rules whose target is that of an earlier one under another path."""
    seen: set[tuple[int, int]] = set()
    for rule in rules:
        status = rule.target.stat()
        key = (status.st_dev, status.st_ino)
        if key not in seen and _is_text(str(rule.target)):
            yield rule
        seen.add(key)


def _is_text(path: str) -> bool:
    """Return False if ``path`` has bytes that no setting can hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_exceptions(
    now: _Now, rule: _Rule, files: Sequence[_Missing], *, in_a_rule: bool
) -> list[_Rule]:
    """Return ``rule``, and rules for folders in its folder that are elsewhere; nothing if it is
    not proven.
    """
    exceptions = list(_exceptions(now, rule, files, rule.length))
    covered = rule.files.union(*(each.files for each in exceptions))
    left = len(files) - len(covered)
    if not _is_proven(rule, left, in_a_rule=in_a_rule) or not now.allows(rule):
        return []
    return [rule, *exceptions]


def _exceptions(now: _Now, rule: _Rule, files: Sequence[_Missing], length: int) -> Iterator[_Rule]:
    for group in _by_folder(files, length):
        outside = len([file for file in group if file not in rule.files])
        if outside == len(group):
            yield from _rules_below(now, group, length + 1, in_a_rule=True)
        elif outside:
            yield from _exceptions(now, rule, group, length + 1)


def _is_proven(rule: _Rule, left: int, *, in_a_rule: bool) -> bool:
    """``left``: the number of files that it concerns and does not make readable."""
    if len(rule.files) > 1:
        concerned = len(rule.files) + left
        return left <= (0 if in_a_rule else concerned * _DELETED_SHARE)
    (file,) = rule.files
    return not left and not in_a_rule and file.is_in_folder_of_this_name(rule.folder, rule.target)


def _by_folder(files: Iterable[_Missing], length: int) -> Iterable[list[_Missing]]:
    """Return the files in each folder that is the next part of their paths."""
    groups: dict[str, list[_Missing]] = {}
    for file in files:
        if len(file.place.parts) > length + 1:
            groups.setdefault(file.place.keys()[length], []).append(file)
    return groups.values()


def _merged(now: _Now, found: list[_Rule], files: Sequence[_Missing]) -> list[_Rule]:
    """Return ``found`` with one rule for libraries that lie side by side here as they do there."""
    groups: dict[tuple[object, ...], list[tuple[_Rule, _Rule]]] = {}
    for rule in found:
        if now.has_library(rule.folder):
            for wider in _wider(rule):
                key = (place_of(wider.folder).kind, place_of(wider.folder).keys(), wider.target)
                groups.setdefault(key, []).append((rule, wider))
    for group in sorted(groups.values(), key=lambda group: (-len(group), -group[0][1].length)):
        merged, replaced = group[0][1], [rule for rule, _ in group]
        if len(group) > 1 and _may_merge(now, merged, found, files):
            rest = [rule for rule in found if rule not in replaced]
            together = frozenset[_Missing]().union(*(rule.files for rule in replaced))
            return _merged(now, [*rest, replace(merged, files=together)], files)
    return found


def _wider(rule: _Rule) -> Iterator[_Rule]:
    """Yield rules for the folders around that of ``rule``, as long as their names are the same."""
    (file, *_) = sorted(rule.files, key=lambda file: file.file.path)
    target = rule.target
    for length in range(rule.length - 1, 0, -1):
        if file.place.parts[length] != target.name:
            return
        target = target.parent
        yield _Rule(file.folder(length), target, length, rule.files)


def _may_merge(now: _Now, merged: _Rule, found: Sequence[_Rule], files: Sequence[_Missing]) -> bool:
    """Return True if each missing file below ``merged`` has a rule, and nothing is hidden by it."""
    place, pairs = place_of(merged.folder), [rule.pair for rule in found]
    has_proof = all(rule_for(file.file.path, pairs) for file in files if file.place.is_below(place))
    return has_proof and now.allows(merged)
