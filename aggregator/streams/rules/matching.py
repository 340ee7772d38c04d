"""Find the rules that a tweet matches: one pass over its texts for all keyword rules together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ahocorasick_rs import AhoCorasick

from aggregator.streams.rules.names import ORIG_TYPES
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.tweets import Json, hashtags, keyword_texts, user_ids, user_names

_SLICE = 4096
"""How many characters are searched at once: this bounds the memory for what is found, however long a text is."""

Terms = tuple[str, ...]


class Matcher:
    """The rules of one set, made ready for matching.

    The value of a rule is one or more terms with single blanks between them, and all of them must hold, in lower case.
    A term of a keyword is a substring of any text of the tweet; the empty term, from two blanks in a row, always is.
    A term of a hashtag, a user's id or name is exactly equal to one of the tweet's. A # at the beginning of a hashtag
    counts for nothing (in Traptor such a rule never matched). Every locations rule is put on every tweet, as the
    platform does not say which box it was. A track or follow rule with another `orig_type` never matches.

    Source: Traptor 4.0.15, `Traptor._find_rule_matches`.
    """

    def __init__(self, type_: str, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._always = tuple(range(len(rules))) if type_ == "locations" else ()
        wanted = {orig_type: _wanted(rules, orig_type) for orig_type in ORIG_TYPES[type_]}
        self._exact = [(_FINDERS[each], _Needs(wanted[each])) for each in wanted if each in _FINDERS and wanted[each]]
        self._keywords = _Keywords(wanted["keyword"]) if wanted.get("keyword") else None

    def matches(self, tweet: Json) -> list[Rule]:
        """Return the rules that a tweet matches, in the order of the rules."""
        found = [*self._always]
        if self._keywords is not None:
            found += self._keywords.matching(keyword_texts(tweet))
        for values_of, needs in self._exact:
            found += needs.met_by(values_of(tweet))
        return [self._rules[index] for index in sorted(found)]


class _Wanted(NamedTuple):
    """The number of a rule, and the different terms of its value."""

    rule: int
    terms: frozenset[str]


def _wanted(rules: Sequence[Rule], kind: str) -> tuple[_Wanted, ...]:
    return tuple(
        _Wanted(index, frozenset(terms_of(rule))) for index, rule in enumerate(rules) if rule.orig_type == kind
    )


def terms_of(rule: Rule) -> Terms:
    """Return the terms of a rule's value."""
    terms = rule.normal_value.split(" ")
    if rule.orig_type == "hashtag":
        return tuple(term.removeprefix("#") for term in terms)
    return tuple(terms)


_FINDERS: dict[str, Callable[[Json], set[str]]] = {"hashtag": hashtags, "userid": user_ids, "username": user_names}
"""What the terms of the rules that ask for equality are compared with."""


class _Needs:
    """Rules by the terms they need, so that only rules of which some term was found are looked at."""

    def __init__(self, wanted: Iterable[_Wanted]) -> None:
        self._alone: dict[str, list[int]] = {}
        self._among: dict[str, list[_Wanted]] = {}
        for each in wanted:
            for term in each.terms:
                if len(each.terms) == 1:
                    self._alone.setdefault(term, []).append(each.rule)
                else:
                    self._among.setdefault(term, []).append(each)

    def met_by(self, found: set[str]) -> set[int]:
        """Return the rules all of whose terms were found."""
        alone, among, met = self._alone, self._among, set()
        for term in found:
            if term in alone:
                met.update(alone[term])
            if term in among:
                met.update(each.rule for each in among[term] if each.terms <= found)
        return met


class _Keywords:
    """The keyword rules of a set."""

    def __init__(self, wanted: Iterable[_Wanted]) -> None:
        self._needs = _Needs(wanted)
        self._terms = sorted({term for each in wanted for term in each.terms if term})
        self._overlap = max(map(len, self._terms), default=1) - 1
        self._search = AhoCorasick(self._terms).find_matches_as_indexes

    def matching(self, texts: list[str]) -> set[int]:
        """Return the rules that match a tweet with these texts."""
        search, terms = self._search, self._terms
        found = {terms[match[0]] for piece in self._pieces(texts) for match in search(piece, overlapping=True)}
        if texts:
            found.add("")
        return self._needs.met_by(found)

    def _pieces(self, texts: list[str]) -> Iterator[str]:
        for text in texts:
            if len(text) <= _SLICE:
                yield text
            else:
                for start in range(0, len(text), _SLICE):
                    yield text[start : start + _SLICE + self._overlap]
