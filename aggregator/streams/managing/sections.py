"""Change one section of loglines.cfg; every other byte stays, and so do comments and the order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from configupdater import ConfigUpdater, NotAttachedError, Option, ParsingError, Section

from aggregator.config import ini
from aggregator.errors import ConfigError

_BOM = b"\xef\xbb\xbf"
_INDENT = re.compile(r"[ \t]*")
_INLINE_COMMENT = re.compile(r"\s+;.*")
_COMMENT = ("#", ";")
_DEEPER = "    "
_BY_HAND = "the file is written in a way that this command cannot edit; edit it by hand"

Texts = Mapping[str, Mapping[str, str]]


def add_section(source: bytes, section: str, texts: Mapping[str, str]) -> bytes:
    """Return a file with a further section at its end. Raises ConfigError when an option cannot be written."""

    def change(updater: ConfigUpdater) -> None:
        updater.add_section(section)
        for name, text in texts.items():
            _put(updater[section], name, text)

    # a blank line in front of the section, and none twice
    head = source if not source.strip() or source.endswith((b"\n\n", b"\n\r\n")) else _ended(source) + _newline(source)
    expected = _texts(source) | {section: {name: _read_back(text) for name, text in texts.items()}}
    return _proven(_changed(head, change), expected)


def change_section(source: bytes, section: str, changes: Mapping[str, str | None]) -> bytes:
    """Return a file with options of a section set, or taken out where the text is None.

    A comment behind a value stays. Raises ConfigError when the file or an option cannot be written in this way.
    """

    def change(updater: ConfigUpdater) -> None:
        found = next(block for block in updater.iter_sections() if block.name.strip() == section)
        for name, text in changes.items():
            if text is not None:
                _put(found, name, text)
            elif (option := _option(found, name)) is not None:
                _keep_comments(option)
                option.detach()

    before = _texts(source)
    after = {name: text for name, text in before[section].items() if name not in changes}
    after |= {name: _read_back(text) for name, text in changes.items() if text is not None}
    return _proven(_changed(source, change), before | {section: after})


def remove_section(source: bytes, section: str) -> bytes:
    """Return a file without a section. Raises ConfigError when the file cannot be written in this way.

    A comment right above the section, with a blank line above it, is about the section and goes with it. Comments
    behind its last option are about what follows, and stay.
    """
    document = ini.read(Path(), source)
    begin = document.sections[section].line - 1
    lines = source.split(b"\n")
    later = [other.line - 1 for other in document.sections.values() if other.line - 1 > begin]
    end = min(later, default=len(lines))
    while end > begin + 1 and _is_no_option(lines[end - 1]):
        end -= 1
    own = begin
    while own > 0 and lines[own - 1].lstrip().startswith((b"#", b";")):
        own -= 1
    if own > 0 and not lines[own - 1].strip():
        begin = own
    rest = lines[end:]
    if begin > 0 and not lines[begin - 1].strip() and (not rest or not rest[0].strip()):
        begin -= 1  # two blank lines, or one at the end of the file, would be left
    after = {name: texts for name, texts in _texts(source).items() if name != section}
    return _proven(b"\n".join([*lines[:begin], *rest]), after)


def _is_no_option(line: bytes) -> bool:
    return not line.strip() or line.lstrip().startswith((b"#", b";"))


def _changed(source: bytes, change: Callable[[ConfigUpdater], None]) -> bytes:
    """Return a file as a change leaves it. A file whose lines end in CR LF keeps them."""
    bom, body = (_BOM, source[len(_BOM) :]) if source.startswith(_BOM) else (b"", source)
    newline = _newline(body).decode()
    # our own reader has the last word on what is a duplicate or a comment
    updater = ConfigUpdater(strict=False)
    try:
        updater.read_string(body.decode().replace("\r\n", "\n"))
        change(updater)
    except (UnicodeDecodeError, ParsingError) as error:
        raise ConfigError(f"the file cannot be edited: {str(error).splitlines()[0]}; correct it first") from error
    except (AttributeError, NotAttachedError) as error:
        # configupdater 3, the last one for Python 3.10, fails like this at comments between the lines of some values
        raise ConfigError(_BY_HAND) from error
    return bom + str(updater).replace("\n", newline).encode()


def _put(section: Section, name: str, text: str) -> None:
    """Set an option; a new one stands behind the last one, with the same indent."""
    lines = _lines(text)
    option, last = _option(section, name), next(reversed(section.option_blocks()), None)
    comment = ""
    if option is None:
        indent = _INDENT.match(last.lines[0])[0] if last is not None and last.lines else ""  # type: ignore[index]
        place = last.add_after if last is not None else section.insert_at(0)
        place.option(f"{indent}{name}")
        option = _option(section, name)
        assert option is not None
    else:
        indent = _INDENT.match(option.lines[0])[0] if option.lines else ""  # type: ignore[index]
        found = _INLINE_COMMENT.search(option.lines[0].rstrip()) if option.lines else None
        comment = found[0] if found is not None else ""
        _keep_comments(option)
        option.key = f"{indent}{option.raw_key.strip()}"
    if len(lines) > 1:
        option.set_values(lines, indent=indent + _DEEPER)
    else:
        option.value = f"{''.join(lines)}{comment}"


def _option(section: Section, name: str) -> Option | None:
    return next((each for each in section.option_blocks() if each.raw_key.strip().lower() == name), None)


def _keep_comments(option: Option) -> None:
    """Put comments that stand between the lines of a value in front of the option."""
    for line in option.lines[1:]:
        if line.strip().startswith(_COMMENT):
            option.add_before.comment(line.strip(), comment_prefix=line.strip()[0])


def _proven(new: bytes, expected: Texts) -> bytes:
    """Return a changed file once our own reader finds in it what was wanted, and nothing else changed."""
    found = _texts(new)
    if found == expected:
        return new
    words = "this cannot be written into the file, where ; behind a blank and # in front of a line begin comments"
    wrong = [
        f"[{section}] {option}: {words}"
        for section, texts in expected.items()
        for option, text in texts.items()
        if found.get(section, {}).get(option) != text
    ]
    raise ConfigError(*(wrong or [_BY_HAND]))


def _texts(source: bytes) -> dict[str, dict[str, str]]:
    sections = ini.read(Path(), source).sections.values()
    return {each.name: {name: value.text for name, value in each.values.items()} for each in sections}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_back(text: str) -> str:
    """Return a value as our reader gives it back."""
    return "\n".join(_lines(text))


def _newline(source: bytes) -> bytes:
    """Return how the lines of a file end; a file of both sorts has LF in new lines."""
    return b"\r\n" if source.count(b"\r\n") == source.count(b"\n") > 0 else b"\n"


def _ended(source: bytes) -> bytes:
    return source if source.endswith(b"\n") else source + _newline(source)
