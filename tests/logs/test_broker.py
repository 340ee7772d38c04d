from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.errors import Reject
from aggregator.logs.broker import Broker
from aggregator.runtime.contract import Send
from aggregator.runtime.message import Message
from tests.logs.driving import make


def test_every_queue_gets_the_same_bytes(tmp_path: Path) -> None:
    broker = make(Broker, tmp_path, listento="in", fanout="a, b@node\nc")
    raw = b'{ "b":1,\n "a": "\xc3\xbc" }'
    assert list(broker.handle(Message(raw, raw))) == [Send("a", raw), Send("b@node", raw), Send("c", raw)]


@pytest.mark.parametrize("raw", [b"", b"[]", b"text", b'{"a":', b'"\xff"', b"[" * 100_000])
def test_what_is_no_json_object_is_rejected(tmp_path: Path, raw: bytes) -> None:
    broker = make(Broker, tmp_path, listento="in", fanout="a")
    with pytest.raises(Reject):
        list(broker.handle(Message(raw, raw)))
