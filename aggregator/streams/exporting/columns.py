"""The columns of tables, and what each platform's posts put into them; docs/streams.md describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from aggregator.streams.exporting.selection import Line
from aggregator.streams.reading.events import Object, id_of_tweet, part, text_id
from aggregator.streams.times import moment_of

Row = dict[str, Any]

COLUMNS = {
    "stream": "string",
    "received_at": "time",
    "platform": "string",
    "kind": "string",
    "id": "string",
    "url": "string",
    "created_at": "time",
    "language": "string",
    "text": "string",
    "user_id": "string",
    "user_name": "string",
    "user_display_name": "string",
    "user_followers": "int64",
    "reply_to_id": "string",
    "reply_to_user_id": "string",
    "repost_of_id": "string",
    "quote_of_id": "string",
    "hashtags": "string",
    "mentions": "string",
    "links": "string",
    "media": "string",
    "reposts": "int64",
    "likes": "int64",
    "latitude": "double",
    "longitude": "double",
    "place": "string",
    "source": "string",
    "json": "string",
}
"""Every column and its type. New ones come at the end, before `json`. `time` is a moment in Unix milliseconds."""


def row_of(line: Line) -> Row:
    """Return the row of a line. An event that is no post has its JSON in the column `json`, and no other content."""
    shape = line.shape
    row: Row = {
        "stream": line.stream,
        "received_at": line.received_ms,
        "platform": shape.platform,
        "id": shape.id,
        "created_at": shape.at_ms,
    }
    reader = _READERS.get(shape.platform) if shape.kind == "post" else None
    if reader is None:
        return {**row, "kind": "other", "json": line.raw.decode(errors="backslashreplace")}
    return {**row, **reader(shape.body, shape.whole)}


def _twitter(status: Object, _: Object) -> Row:
    user, inside, quoted = part(status, "user"), part(status, "retweeted_status"), part(status, "quoted_status")
    name = _text(user.get("screen_name"))
    full, text = part(status, "extended_tweet"), _full_text(status)
    if inside:
        # Twitter cuts the text of a retweet
        text = f"RT @{_text(part(inside, 'user').get('screen_name'))}: {_full_text(inside)}"
    entities = part(full, "entities") or part(status, "entities")
    media = part(full, "extended_entities") or part(status, "extended_entities") or entities
    longitude, latitude = _pair(part(status, "coordinates").get("coordinates"))
    reply, replied = _twice(status, "in_reply_to_status_id"), _twice(status, "in_reply_to_user_id")
    repost, quote = id_of_tweet(inside), _twice(status, "quoted_status_id") or id_of_tweet(quoted)
    return {
        "kind": _kind(reply, repost, quote),
        "url": f"https://twitter.com/{name}/status/{id_of_tweet(status)}" if name else "",
        # the time in milliseconds is the stream's; this one is the post's
        "created_at": moment_of(status.get("created_at")),
        "language": _text(status.get("lang")),
        "text": text,
        "user_id": id_of_tweet(user),
        "user_name": name,
        "user_display_name": _text(user.get("name")),
        "user_followers": _number(user.get("followers_count")),
        "reply_to_id": reply,
        "reply_to_user_id": replied,
        "repost_of_id": repost,
        "quote_of_id": quote,
        "hashtags": _joined(entities.get("hashtags"), "text"),
        "mentions": _joined(entities.get("user_mentions"), "screen_name"),
        "links": _joined(entities.get("urls"), "expanded_url"),
        "media": _joined(media.get("media"), "media_url_https"),
        "reposts": _number(status.get("retweet_count")),
        "likes": _number(status.get("favorite_count")),
        "latitude": latitude,
        "longitude": longitude,
        "place": _text(part(status, "place").get("full_name")),
        "source": _text(status.get("source")),
    }


def _x(post: Object, whole: Object) -> Row:
    others = {_text(other.get("type")): text_id(other.get("id")) for other in _objects(post.get("referenced_tweets"))}
    author = text_id(post.get("author_id"))
    users = _objects(part(whole, "includes").get("users"))
    user = next((user for user in users if text_id(user.get("id")) == author), {})
    entities, counts = part(post, "entities"), part(post, "public_metrics")
    longitude, latitude = _pair(part(post, "geo", "coordinates").get("coordinates"))
    reply, repost, quote = (others.get(name, "") for name in ("replied_to", "retweeted", "quoted"))
    return {
        "kind": _kind(reply, repost, quote),
        "url": f"https://x.com/i/status/{text_id(post.get('id'))}",
        "language": _text(post.get("lang")),
        "text": _text(part(post, "note_tweet").get("text")) or _text(post.get("text")),
        "user_id": author,
        "user_name": _text(user.get("username")),
        "user_display_name": _text(user.get("name")),
        "user_followers": _number(part(user, "public_metrics").get("followers_count")),
        "reply_to_id": reply,
        "reply_to_user_id": text_id(post.get("in_reply_to_user_id")),
        "repost_of_id": repost,
        "quote_of_id": quote,
        "hashtags": _joined(entities.get("hashtags"), "tag"),
        "mentions": _joined(entities.get("mentions"), "username"),
        "links": _joined(entities.get("urls"), "expanded_url"),
        "media": _joined(part(whole, "includes").get("media"), "url"),
        "reposts": _number(counts.get("retweet_count")),
        "likes": _number(counts.get("like_count")),
        "latitude": latitude,
        "longitude": longitude,
        "place": text_id(part(post, "geo").get("place_id")),
        "source": _text(post.get("source")),
    }


def _mastodon(status: Object, whole: Object) -> Row:
    account, inside = part(status, "account"), part(status, "reblog")
    reply, repost = text_id(status.get("in_reply_to_id")), text_id(inside.get("id"))
    quote = text_id(part(status, "quote", "quoted_status").get("id"))
    shown = inside or status
    return {
        "kind": "edit" if whole.get("event") == "status.update" else _kind(reply, repost, quote),
        "url": _text(status.get("url")) or _text(status.get("uri")),
        "created_at": moment_of(status.get("created_at")),
        "language": _text(shown.get("language")),
        "text": _text(shown.get("content")),
        "user_id": text_id(account.get("id")),
        "user_name": _text(account.get("acct")),
        "user_display_name": _text(account.get("display_name")),
        "user_followers": _number(account.get("followers_count")),
        "reply_to_id": reply,
        "reply_to_user_id": text_id(status.get("in_reply_to_account_id")),
        "repost_of_id": repost,
        "quote_of_id": quote,
        "hashtags": _joined(shown.get("tags"), "name"),
        "mentions": _joined(shown.get("mentions"), "acct"),
        "links": _text(part(shown, "card").get("url")),
        "media": _joined(shown.get("media_attachments"), "url"),
        "reposts": _number(status.get("reblogs_count")),
        "likes": _number(status.get("favourites_count")),
        "source": _text(part(status, "application").get("name")),
    }


def _bluesky(record: Object, whole: Object) -> Row:
    did = _text(whole.get("did"))
    embed, is_repost = part(record, "embed"), "repost" in _text(part(whole, "commit").get("collection"))
    reply = _text(part(record, "reply", "parent").get("uri"))
    repost = _text(part(record, "subject").get("uri")) if is_repost else ""
    quote = _text(part(embed, "record").get("uri")) or _text(part(embed, "record", "record").get("uri"))
    features = [inside for facet in _objects(record.get("facets")) for inside in _objects(facet.get("features"))]
    languages = record.get("langs")
    return {
        "kind": _kind(reply, repost, quote),
        "url": "" if is_repost else f"https://bsky.app/profile/{did}/post/{_text(part(whole, 'commit').get('rkey'))}",
        "created_at": moment_of(record.get("createdAt")),
        "language": " ".join(map(_text, languages)) if isinstance(languages, list) else "",
        "text": _text(record.get("text")),
        "user_id": did,
        "reply_to_id": reply,
        "repost_of_id": repost,
        "quote_of_id": quote,
        "hashtags": _joined(features, "tag"),
        "mentions": _joined(features, "did"),
        "links": _joined(features, "uri") or _text(part(embed, "external").get("uri")),
    }


_READERS: dict[str, Callable[[Object, Object], Row]] = {
    "twitter": _twitter,
    "x": _x,
    "mastodon": _mastodon,
    "bluesky": _bluesky,
}


def _kind(reply: str, repost: str, quote: str) -> str:
    return "repost" if repost else "quote" if quote else "reply" if reply else "post"


def _twice(status: Object, name: str) -> str:
    """Return an id that Twitter gives as a text and as a number."""
    return text_id(status.get(f"{name}_str")) or text_id(status.get(name))


def _full_text(status: Object) -> str:
    whole = _text(part(status, "extended_tweet").get("full_text"))
    return whole or _text(status.get("full_text")) or _text(status.get("text"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None


def _objects(value: object) -> Iterable[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _joined(value: object, name: str) -> str:
    """Return one field of the objects in a list, with blanks between: none of these fields has blanks inside."""
    return " ".join(filter(None, (_text(item.get(name)) for item in _objects(value))))


def _pair(value: object) -> tuple[str | None, str | None]:
    """Return a pair of coordinates as the platform wrote them."""
    if not isinstance(value, list) or len(value) != 2:
        return None, None
    first, second = (str(item) if _is_number(item) else None for item in value)
    return first, second


def _is_number(value: object) -> bool:
    try:
        # fractions are texts here, so that they stay as written
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
    return True
