"""Read the sections that exist once each, above all `[redis]`, whose address may be given in three ways."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import quote

import msgspec

from aggregator.config import redisurl
from aggregator.config.hints import unknown
from aggregator.config.ini import Document, Texts
from aggregator.config.instance import Instance
from aggregator.config.parsing import options_of, parse_option, parse_settings
from aggregator.config.programs import OWN_REDIS, is_own_redis
from aggregator.config.sections import RedisSettings, RulesSettings
from aggregator.config.settings import Option, Settings

_S = TypeVar("_S", bound=Settings)


def read_core(document: Document, every: Texts, section: str, settings: type[_S]) -> _S | None:
    """Return the settings of a section that exists once; None when something is wrong with it."""
    texts = every.get(section, {})
    parsed, faults = parse_settings(settings, texts)
    options = {option.name: option for option in options_of(settings)}
    for fault in faults:
        words = fault.text
        if fault.option == "url":
            words = _masked_fault(options["url"], texts["url"])
        document.fault(section, fault.option, words)
    for option in texts:
        if option not in options:
            document.fault(section, option, unknown(option, tuple(options)))
    return parsed


def read_redis(document: Document, every: Texts, instance: Instance) -> RedisSettings:
    """Return where Redis is; faults go into the document."""
    texts = every.get("redis", {})
    settings = read_core(document, every, "redis", RedisSettings) or RedisSettings()
    apart = [option for option in ("host", "port", "db", "password") if option in texts]
    if is_own_redis(OWN_REDIS, every.get(OWN_REDIS, {"command": ""})):
        for option in (*apart, *(["url"] if "url" in texts else [])):
            advice = "take this out, or take out [process_redis]"
            document.fault("redis", option, f"[process_redis] runs a Redis of its own; {advice}")
        return msgspec.structs.replace(settings, url=f"unix://{quote(str(instance.redis_socket))}")
    if settings.url:
        for option in apart:
            document.fault("redis", option, "stands beside url, which says it already; give one of the two")
        return settings
    if "redis" not in every and OWN_REDIS not in every:
        advice = "say where Redis is (url = redis://HOST), or add an empty section [process_redis] to run one here"
        document.fault("redis", None, f"missing section; {advice}")
    return msgspec.structs.replace(settings, url=_redis_url(settings))


def read_rules(document: Document, every: Texts, redis: RedisSettings) -> RulesSettings:
    """Return where the rules of streams are; faults go into the document."""
    settings = read_core(document, every, "rules", RulesSettings) or RulesSettings()
    if settings.url.startswith("cluster:"):
        words = "a cluster cannot change a rule and its history in one step; give the url of a single Redis"
        document.fault("rules", "url", words)
    return msgspec.structs.replace(settings, url=settings.url or redis.url)


def _redis_url(settings: RedisSettings) -> str:
    host = settings.host or "127.0.0.1"
    secret = f":{quote(settings.password, safe='')}@" if settings.password else ""
    return f"redis://{secret}{f'[{host}]' if ':' in host else host}:{settings.port}/{settings.db}"


def _masked_fault(option: Option, text: str) -> str:
    """Return the words for a bad address of Redis, without the password in it."""
    try:
        parse_option(option, redisurl.mask(text))
    except ValueError as error:
        return str(error)
    return f"bad {option.kind.name}; allowed: {option.kind.allowed}"
