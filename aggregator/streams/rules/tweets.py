"""What Traptor looks at in a tweet (format v1.1): texts, hashtags, ids and names of the people in it.

A tweet has six views: itself, the tweet that it repeats and the tweet that it quotes, each of them plain and extended.
Any part may be missing, null or of another type than the platform says; it then counts as missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
_TWEETS = ("retweeted_status", "quoted_status")


def keyword_texts(tweet: Json) -> list[str]:
    """Return every text in which a keyword counts, in lower case and each once.

    They are the texts of the six views, the addresses of their links and media, and the author's screen name.
    """
    found = [_under(tweet, "user").get("screen_name")]
    for each in _tweets(tweet):
        found += (each.get("text"), _under(each, "extended_tweet").get("full_text"))
    for entities in _entities(tweet):
        for link in (*_items(entities, "urls"), *_items(entities, "media")):
            found += (link.get("expanded_url"), link.get("display_url"))
    return list(dict.fromkeys(text.lower() for text in found if isinstance(text, str)))


def hashtags(tweet: Json) -> set[str]:
    """Return the hashtags of the six views, in lower case and without their #."""
    return _lower(tag.get("text") for entities in _entities(tweet) for tag in _items(entities, "hashtags"))


def user_ids(tweet: Json) -> set[str]:
    """Return the ids of the authors of the three tweets and of everybody mentioned in the six views."""
    return _people(tweet, "id_str")


def user_names(tweet: Json) -> set[str]:
    """Return the same people's screen names, in lower case."""
    return _people(tweet, "screen_name")


def _people(tweet: Json, field: str) -> set[str]:
    authors = _lower(_under(each, "user").get(field) for each in _tweets(tweet))
    return authors | _lower(
        each.get(field) for entities in _entities(tweet) for each in _items(entities, "user_mentions")
    )


def _tweets(tweet: Json) -> Iterator[Json]:
    yield tweet
    for name in _TWEETS:
        if part := _under(tweet, name):
            yield part


def _entities(tweet: Json) -> Iterator[Json]:
    for each in _tweets(tweet):
        yield _under(each, "entities")
        if extended := _under(each, "extended_tweet"):
            yield _under(extended, "entities")


def _under(part: Json, name: str) -> Json:
    value = part.get(name)
    return value if isinstance(value, dict) else {}


def _items(part: Json, name: str) -> Iterator[Json]:
    value = part.get(name)
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def _lower(values: Iterator[Any]) -> set[str]:
    return {value.lower() for value in values if isinstance(value, str)}
