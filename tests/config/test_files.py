"""Files that a section of a stage names are looked at when the configuration is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.errors import ConfigError
from tests.config.configuring import configure

DOWNLOAD = "[redis]\n[worker_download]\nstage = download\npushto = fetched@node\nca_file = none.pem\n"
OPENURL = """[redis]
[worker_ping]
stage = openurl
listento = lines
repository_plugin = plugins.accesslog
endpoint_url = https://tracker.example/
client_cert = loglines.cfg
[accesslog]
pattern = /a/(?P<id>\\w+)
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [(DOWNLOAD, ":5 [worker_download] ca_file: cannot be read"), (OPENURL, ":7 [worker_ping] client_cert: cannot be")],
    ids=["download", "openurl"],
)
def test_a_file_for_tls_that_cannot_be_used_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match="cannot be") as refused:
        configure(tmp_path, text)

    assert any(told in problem for problem in refused.value.problems), refused.value.problems


def test_an_option_without_a_type_of_ours_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/untyped.py").write_text(
        "from aggregator.runtime.contract import *\n"
        "class Untyped(Stage):\n"
        "    class Settings(ConsumerSettings, frozen=True, kw_only=True):\n"
        "        pushto: str\n"
    )

    with pytest.raises(ConfigError) as refused:
        configure(tmp_path, "[redis]\n[worker_x]\nstage = plugins.untyped:Untyped\nlistento = a\npushto = b\n")

    assert "[worker_x] stage: plugins.untyped.Untyped.Settings.pushto: its type is none of" in str(refused.value)
