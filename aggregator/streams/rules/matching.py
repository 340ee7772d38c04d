"""Find the rules that a tweet matches: one pass over its texts for all keyword rules together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from ahocorasick_rs import AhoCorasick

from aggregator.streams.rules.names import ORIG_TYPES
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.tweets import Tweet, hashtags, keyword_texts, user_ids, user_names

_SLICE = 4096
"""How many characters are searched at once: this bounds the memory for what is found, however long a text is."""

_EMPTY = -1
"""The number of the empty term, which is in every text."""
_Term = TypeVar("_Term", int, str)


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
        wanted = {each: _terms_by_rule(rules, each) for each in ORIG_TYPES[type_]}
        self._exact = [(_FINDERS[each], _Needs(wanted[each])) for each in wanted if each in _FINDERS and wanted[each]]
        self._keywords = _Keywords(wanted["keyword"]) if wanted.get("keyword") else None

    def matches(self, tweet: Tweet) -> list[Rule]:
        """Return the rules that a tweet matches, in the order of the rules."""
        found = [*self._always]
        if self._keywords is not None:
            found += self._keywords.matching(keyword_texts(tweet))
        for values_of, needs in self._exact:
            found += needs.met_by(values_of(tweet))
        return [self._rules[index] for index in sorted(found)]


def _terms_by_rule(rules: Sequence[Rule], orig_type: str) -> dict[int, frozenset[str]]:
    """Return the different terms of each rule of one kind, by the rule's place."""
    return {
        place: frozenset(_bare(term, orig_type) for term in rule.normal_value.split(" "))
        for place, rule in enumerate(rules)
        if rule.orig_type == orig_type
    }


def _bare(term: str, orig_type: str) -> str:
    return term.removeprefix("#") if orig_type == "hashtag" else term


_FINDERS: dict[str, Callable[[Tweet], set[str]]] = {"hashtag": hashtags, "userid": user_ids, "username": user_names}
"""What the terms of the rules that ask for equality are compared with."""


class _Needs(Generic[_Term]):
    """Rules by the terms they need, so that only rules of which some term was found are looked at."""

    def __init__(self, terms_by_rule: Mapping[int, frozenset[_Term]]) -> None:
        self._alone: dict[_Term, list[int]] = {}
        self._among: dict[_Term, list[tuple[int, frozenset[_Term]]]] = {}
        for rule, terms in terms_by_rule.items():
            for term in terms:
                if len(terms) == 1:
                    self._alone.setdefault(term, []).append(rule)
                else:
                    self._among.setdefault(term, []).append((rule, terms))

    def met_by(self, found: set[_Term]) -> set[int]:
        """Return the rules all of whose terms were found."""
        met: set[int] = set()
        for term in found:
            if term in self._alone:
                met.update(self._alone[term])
            if term in self._among:
                met.update(rule for rule, terms in self._among[term] if terms <= found)
        return met


class _Keywords:
    """The keyword rules of a set; terms are known by their numbers."""

    def __init__(self, terms_by_rule: Mapping[int, frozenset[str]]) -> None:
        terms = sorted({term for terms in terms_by_rule.values() for term in terms if term})
        numbers = {"": _EMPTY, **{term: number for number, term in enumerate(terms)}}
        self._needs = _Needs({rule: frozenset(numbers[term] for term in each) for rule, each in terms_by_rule.items()})
        self._overlap = max(map(len, terms), default=1) - 1
        self._search = AhoCorasick(terms).find_matches_as_indexes

    def matching(self, texts: list[str]) -> set[int]:
        """Return the rules that match a tweet with these texts."""
        found = {term for piece in self._pieces(texts) for term, _, _ in self._search(piece, overlapping=True)}
        if texts:
            found.add(_EMPTY)
        return self._needs.met_by(found)

    def _pieces(self, texts: list[str]) -> Iterator[str]:
        for text in texts:
            if len(text) <= _SLICE:
                yield text
            else:
                for start in range(0, len(text), _SLICE):
                    yield text[start : start + _SLICE + self._overlap]
