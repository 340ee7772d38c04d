"""What a configuration without faults means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aggregator.config.instance import Instance
from aggregator.errors import ConfigError
from tests.config.configuring import PIPELINE, configure


def test_the_section_of_a_foreign_command_has_its_own_options(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        "[redis]\n[worker_x]\ncommand = ./x.py\nlistento = a\nfanout = b, c\ncolour = red\nnumproc = 2\nmaxdepth = 9\n",
    )

    assert config.programs["worker_x"].kind == "command"
    assert config.programs["worker_x"].feeds == ("b", "c")
    assert config.depth_limit("a") == 9
    assert config.warnings[-1] == (
        f"{tmp_path}/loglines.cfg:7 [worker_x] numproc: left to the command; did you mean numprocs?"
    )


def test_a_plugin_gets_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "hidden")
    config = configure(tmp_path, PIPELINE + "[sampleplugin]\npattern = 50% %(ENV_WORD)s\n")

    parser = config.parser()

    assert parser.get("sampleplugin", "pattern") == "50% hidden"
    assert parser.get("worker_ask", "listento") == "ask"
    assert not parser.has_option("worker_ask", "rfr_id")


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ("", "redis://127.0.0.1:6379/0"),
        ("host = localhost\nport = 6380\ndb = 2\n", "redis://localhost:6380/2"),
        ("host = ::1\npassword = p@ss/word\n", "redis://:p%40ss%2Fword@[::1]:6379/0"),
        ("url = sentinel://a:26379,b:26379/main/0\n", "sentinel://a:26379,b:26379/main/0"),
    ],
)
def test_redis_is_named_by_url_or_by_its_parts(options: str, url: str, tmp_path: Path) -> None:
    assert configure(tmp_path, f"[redis]\n{options}").redis.url == url


def test_our_own_redis_has_a_private_socket(tmp_path: Path) -> None:
    root = tmp_path / "a b"
    root.mkdir()

    config = configure(root, "[process_redis]\n[redis]\nnamespace = mine\npatience = 1m\n")

    assert config.redis.url == f"unix://{tmp_path}/a%20b/run/redis.sock"
    assert (config.redis.namespace, config.redis.patience) == ("mine", 60.0)


def test_a_deep_folder_has_its_sockets_elsewhere_and_the_first_choice_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / ("x" * 90)
    (root / "run").mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    chosen = Instance(root).sockets
    (root / "run" / "sockets").write_text(f"{chosen}\n")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/2")

    assert chosen.parent == Path("/run/user/1")
    assert Instance(root).sockets == chosen
    assert Instance(root).redis_socket == chosen / "redis.sock"


def test_the_node_is_what_the_file_says_else_what_the_first_build_found(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "node").write_text("old-host\n")

    assert configure(tmp_path, "[redis]\n").node == "old-host"
    assert configure(tmp_path, "[redis]\n[aggregator]\nnode = mine\n").node == "mine"


def test_other_redis_sections_are_let_be(tmp_path: Path) -> None:
    assert configure(tmp_path, "[redis]\n[redis_test]\nhost = localhost\ndb = 1\n").warnings == ()


def test_a_worker_reads_its_own_section_whatever_stands_in_others(tmp_path: Path) -> None:
    broken = PIPELINE + "[worker_new]\nstage = nowhere:Nothing\nwhat is\n[nonsense]\na = %(ENV_NOT_SET_ANYWHERE)s\n"

    config = configure(tmp_path, broken, only="worker_copy")

    assert list(config.programs) == ["worker_copy"]
    assert config.depth_limit("ask") == 100_000


def test_a_worker_is_told_of_faults_in_its_own_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        configure(tmp_path, PIPELINE + "maxdept = 1\n", only="logger_asked")

    assert raised.value.problems == (
        f"{tmp_path}/loglines.cfg:25 [logger_asked] maxdept: unknown option; did you mean maxdepth?",
    )


def test_a_worker_without_a_section_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[worker_cpy\]: no such section; did you mean worker_copy\?"):
        configure(tmp_path, PIPELINE, only="worker_cpy")


def test_importing_the_configuration_imports_no_stage_and_no_redis() -> None:
    heavy = ["redis", "requests", "supervisor", "aggregator.runtime", "aggregator.logs", "importlib.metadata"]
    script = f"import sys, aggregator.config.loading; print([name for name in {heavy} if name in sys.modules])"

    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert told == "[]\n"
