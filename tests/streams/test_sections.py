"""A section of loglines.cfg is changed, and nothing else of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aggregator.config import ini
from aggregator.errors import ConfigError
from aggregator.streams.managing.sections import add_section, change_section, remove_section

FILE = b"""\
# The whole instance.
[redis]
url = redis://localhost/0    ; ours

# Asked for by Ada.
[stream_a]
Type: sse          ; a form, no platform
# where it is
url = http://127.0.0.1:1/
track =
    one
    # the second word
    two

; the recorder
[worker_record]
  stage = record
  listento = events
"""


def test_adding_appends_and_removing_gives_the_file_back() -> None:
    added = add_section(FILE, "stream_b", {"type": "sse", "track": "x, y"})

    assert added == FILE + b"\n[stream_b]\ntype = sse\ntrack = x, y\n"
    assert remove_section(added, "stream_b") == FILE


def test_a_value_is_replaced_and_every_comment_stays() -> None:
    changed = change_section(FILE, "stream_a", {"type": "ndjson", "track": "three", "language": "en"})

    assert changed == FILE.replace(b"Type: sse  ", b"Type : ndjson  ").replace(
        b"track =\n    one\n    # the second word\n    two\n", b"# the second word\ntrack = three\nlanguage = en\n"
    )


def test_an_option_is_taken_out() -> None:
    changed = change_section(FILE, "stream_a", {"url": None})

    assert changed == FILE.replace(b"url = http://127.0.0.1:1/\n", b"")


def test_an_indented_section_keeps_its_indent() -> None:
    changed = change_section(FILE, "worker_record", {"listento": "others", "format": "zst"})

    assert changed == FILE.replace(b"  listento = events\n", b"  listento = others\n  format = zst\n")


def test_a_removed_section_takes_its_own_comment_along_and_leaves_that_of_the_next_one() -> None:
    removed = remove_section(FILE, "stream_a")

    assert removed == (
        b"# The whole instance.\n[redis]\nurl = redis://localhost/0    ; ours\n\n"
        b"; the recorder\n[worker_record]\n  stage = record\n  listento = events\n"
    )


def test_a_comment_that_may_belong_to_the_section_before_stays() -> None:
    text = b"[redis]\nport = 1\n# db = 2\n[stream_a]\ntype = sse\n"

    assert remove_section(text, "stream_a") == b"[redis]\nport = 1\n# db = 2\n"


def test_lines_that_end_in_cr_lf_and_a_mark_of_utf_8_stay() -> None:
    text = b"\xef\xbb\xbf" + FILE.replace(b"\n", b"\r\n")

    assert change_section(text, "stream_a", {"url": "http://x/"}) == text.replace(b"127.0.0.1:1", b"x")
    assert add_section(text, "stream_b", {"type": "sse"}) == text + b"\r\n[stream_b]\r\ntype = sse\r\n"


def test_a_file_without_a_line_break_at_its_end_gets_one() -> None:
    assert add_section(b"[redis]\nport = 1", "stream_b", {"type": "sse"}) == (
        b"[redis]\nport = 1\n\n[stream_b]\ntype = sse\n"
    )


def test_lines_of_a_value_become_lines_of_the_file() -> None:
    added = add_section(b"[redis]\n", "stream_b", {"track": "one,\n two"})

    assert added == b"[redis]\n\n[stream_b]\ntrack =\n    one,\n    two\n"


@pytest.mark.parametrize("text", ["a ;b", "a\n#b\nc", "a\n;b"])
def test_a_value_that_would_be_read_as_a_comment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\[stream_a\] track: this cannot be written"):
        change_section(FILE, "stream_a", {"track": text})


def test_a_file_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be edited"):
        add_section(b"[redis]\nnonsense\n", "stream_b", {})


@given(
    st.lists(st.sampled_from(FILE.decode().splitlines(keepends=True)), max_size=12),
    st.text(alphabet="ab ;#=:[]%,\n", max_size=8),
)
def test_whatever_the_file_of_good_form_nothing_else_changes_or_it_is_refused(lines: list[str], value: str) -> None:
    source = f"[stream_a]\n{''.join(lines)}".encode()
    document = ini.read(Path(), source)
    assume(not document.faults)
    before = {name: section.values for name, section in document.sections.items()}

    try:
        changed = change_section(source, "stream_a", {"track": value})
    except ConfigError:
        return

    after = {name: section.values for name, section in ini.read(Path(), changed).sections.items()}
    assert [*after] == [*before]
    for name, values in before.items():
        texts = {option: found.text for option, found in values.items() if (name, option) != ("stream_a", "track")}
        assert texts == {
            option: found.text for option, found in after[name].items() if (name, option) != ("stream_a", "track")
        }
    comments = [line.strip() for line in source.decode().splitlines() if line.strip().startswith(("#", ";"))]
    kept = [line.strip() for line in changed.decode().splitlines() if line.strip().startswith(("#", ";"))]
    assert sorted(kept) == sorted(comments)
