"""What a configuration without faults means."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.config import graph, ini, placeholders
from aggregator.config.configuration import Config
from aggregator.config.instance import Instance
from aggregator.config.loading import load
from aggregator.config.sections import Address
from aggregator.errors import ConfigError

PIPELINE = """
[redis]
url = redis://localhost/0
[logger_in]
stage = tests.samplestages:Feeder
pushto = lines
[worker_copy]
stage = tests.samplestages:Copier
listento = lines
fanout = ask, kept@node
maxdepth = 500
[worker_ask]
stage = tests.samplestages:Caller
listento = ask
repository_plugin = tests.sampleplugin
success_queue = asked
[logger_kept]
stage = tests.samplestages:Keeper
listento = kept@node
logfile = kept.log
[logger_asked]
stage = tests.samplestages:Keeper
listento = asked
logfile = asked.log
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: sockets do not fit below pytest's own when tests run side by side."""
    with tempfile.TemporaryDirectory(prefix="aggregator-test-") as folder:
        yield Path(folder)


def configure(root: Path, text: str, only: str | None = None, mode: int = 0o644) -> Config:
    file = root / "loglines.cfg"
    file.write_text(text)
    file.chmod(mode)
    return load(file, root, only)


def read_option(tmp_path: Path, text: str) -> str:
    file = tmp_path / "file.ini"
    file.write_text(f"[section]\n{text}")
    document = ini.read(file)
    assert document.faults == []
    return document.sections["section"].values["key"].text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("key = value\n", "value"),
        ("key: value\n", "value"),
        ("KEY=value", "value"),
        ("key = value ; not this\n", "value"),
        ("key = a;b\n", "a;b"),
        ("key = a # b\n", "a # b"),
        ("key = http://host:80/?a=b\n", "http://host:80/?a=b"),
        ("key: http://host/?a=b\n", "http://host/?a=b"),
        ("key = a\n  b ; not this\n\n  # nor this\n  c\n", "a\nb\nc"),
        ("key =\n  a\n  b\n", "a\nb"),
        ("key =\n", ""),
        ("  key = a\n  other = b\n", "a"),
        ("key = value\r\n", "value"),
        ("# a\fb\nkey = a\tb ; \a\n", "a\tb"),
    ],
)
def test_a_value_is_read_as_configparser_reads_it(text: str, value: str, tmp_path: Path) -> None:
    assert read_option(tmp_path, text) == value


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "file.ini"
    file.write_bytes(b"\xef\xbb\xbf[section]\nkey = caf\xc3\xa9\n")

    document = ini.read(file)

    assert document.faults == []
    assert document.sections["section"].values["key"] == ("caf\xe9", 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100%", "100%"),
        ("100%%", "100%"),
        ("%Y-%m-%d", "%Y-%m-%d"),
        ("a%2Fb", "a%2Fb"),
        ("%(here)s/x", "/etc/x"),
        ("%(ENV_TOKEN)s", "s3cret%"),
        ("%(process_num)02d.%(program_name)s", "%(process_num)02d.%(program_name)s"),
        ("%(other)s", "%(other)s"),
    ],
)
def test_only_known_placeholders_are_filled_in(text: str, value: str) -> None:
    assert placeholders.expand(text, "/etc", {"TOKEN": "s3cret%"}) == (value, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100%", "100%%"),
        ("100%%", "100%%"),
        ("%(here)s/x", "HERE/x"),
        ("%(ENV_TOKEN)s", "%(ENV_TOKEN)s"),
        ("%(process_num)d %(other)s", "%(process_num)d %%(other)s"),
        ("%(process_num)02d %(process_num)s", "%(process_num)02d %(process_num)s"),
        ("%(program_name)s %(program_name)20s", "%(program_name)s %(program_name)20s"),
        ("%(program_name)d", "%%(program_name)d"),
        ("%(process_num)\u0663d", "%%(process_num)\u0663d"),
        ("%(process_num)99999999999d", "%%(process_num)99999999999d"),
    ],
)
def test_supervisord_gets_placeholders_it_can_read(text: str, value: str) -> None:
    assert placeholders.for_supervisord(text, "HERE") == value


def test_queues_join_the_sections_that_feed_and_read_them(tmp_path: Path) -> None:
    config = configure(tmp_path, PIPELINE)

    assert config.warnings == ()
    assert config.consumers == {
        "lines": "worker_copy",
        "ask": "worker_ask",
        "kept@node": "logger_kept",
        "asked": "logger_asked",
    }
    assert config.producers["kept@node"] == ("worker_copy",)
    assert config.programs["worker_copy"].feeds == ("ask", "kept@node")
    assert config.programs["logger_in"].listens is None


def test_the_bound_of_a_queue_is_that_of_the_section_that_reads_it(tmp_path: Path) -> None:
    config = configure(tmp_path, PIPELINE + "maxdepth = 7\n[aggregator]\nnode = n1\n")

    assert config.depth_limit("lines") == 500
    assert config.depth_limit("kept@node") == 100_000
    assert config.depth_limit("kept@n1") == 100_000
    assert config.depth_limit("asked") == 7
    assert config.depth_limit("elsewhere") is None


def test_what_reads_starts_before_what_feeds_it(tmp_path: Path) -> None:
    config = configure(tmp_path, PIPELINE + "[process_redis]\ncommand = redis-server\n[process_demo]\ncommand = x\n")

    assert graph.priorities(config.programs) == {
        "process_redis": 10,
        "process_demo": 10,
        "logger_asked": 100,
        "logger_kept": 100,
        "worker_ask": 200,
        "worker_copy": 300,
        "logger_in": 900,
    }


def test_our_own_redis_starts_first_and_an_explicit_priority_wins(tmp_path: Path) -> None:
    config = configure(tmp_path, "[process_redis]\n[process_a]\ncommand = x\npriority = 5\n")

    assert graph.priorities(config.programs) == {"process_redis": 1, "process_a": 5}


def test_a_long_pipeline_still_ends_before_the_sources(tmp_path: Path) -> None:
    middle = "".join(
        f"[worker_{n}]\nstage = tests.samplestages:Copier\nlistento = q{n}\nfanout = q{n + 1}\n" for n in range(30)
    )
    config = configure(tmp_path, f"[redis]\n[logger_in]\nstage = tests.samplestages:Feeder\npushto = q0\n{middle}")

    found = graph.priorities(config.programs)

    assert found["worker_29"] == 100
    assert [found[f"worker_{n}"] for n in range(30)] == sorted((found[f"worker_{n}"] for n in range(30)), reverse=True)
    assert found["worker_0"] < found["logger_in"] == 900


@pytest.mark.parametrize("last", ["q1200", "q0"])
def test_a_pipeline_may_be_longer_than_python_can_recurse(last: str, tmp_path: Path) -> None:
    middle = "".join(
        f"[worker_{n}]\nstage = tests.samplestages:Copier\nlistento = q{n}\n"
        f"fanout = {last if n == 1199 else f'q{n + 1}'}\n"
        for n in range(1200)
    )

    config = configure(tmp_path, f"[redis]\n{middle}")

    found = graph.priorities(config.programs)
    assert (found["worker_1199"], found["worker_0"]) == (100, 100)
    assert [warning.count(" -> ") for warning in config.warnings if "round for ever" in warning] == (
        [1200] if last == "q0" else []
    )


def test_queues_with_one_end_are_a_warning_each(tmp_path: Path) -> None:
    text = PIPELINE.replace("listento = lines", "listento = linse")

    config = configure(tmp_path, text)

    assert config.warnings == (
        f"{tmp_path}/loglines.cfg:6 [logger_in] pushto: no section reads the queue lines; did you mean linse?",
        f"{tmp_path}/loglines.cfg:9 [worker_copy] listento: no section feeds the queue linse; did you mean lines?",
    )


@pytest.mark.parametrize(
    ("redis", "queue", "warned"),
    [("redis", "fetched", True), ("redis", "fetched@node", False), ("process_redis", "fetched", False)],
)
def test_a_queue_of_files_that_other_machines_may_read_is_a_warning(
    redis: str, queue: str, warned: bool, tmp_path: Path
) -> None:
    text = f"[{redis}]\n[worker_download]\nstage = download\npushto = {queue}\n"
    reader = f"[worker_filter]\nstage = filter\nlistento = {queue}\npushto = published@node\n"

    found = configure(tmp_path, text + reader).warnings

    words = "pushto: messages in fetched name files of this machine, and any on this Redis would take them; call it "
    place = f"{tmp_path}/loglines.cfg:4 [worker_download]"
    assert (f"{place} {words}fetched@node, also where it is read" in found) == warned
    assert len([warning for warning in found if "name files" in warning]) == warned


def test_a_loop_is_a_warning(tmp_path: Path) -> None:
    text = "[redis]\n" + "".join(
        f"[worker_{here}]\nstage = tests.samplestages:Copier\nlistento = {here}\nfanout = {there}\n"
        for here, there in ("ab", "bc", "ca")
    )

    config = configure(tmp_path, text)

    words = "messages may go round for ever: worker_a -> worker_b -> worker_c -> worker_a"
    assert config.warnings == (f"{tmp_path}/loglines.cfg:2 [worker_a]: {words}",)


@pytest.mark.parametrize(
    "followed",
    [
        "data/out.log",
        "x.log, ./data/../data/out.log",
        "data/*.log",
        "ROOT/*/out.log",
        "link/*.log",
        "link/../data/*.log",
    ],
)
def test_a_log_that_is_written_from_itself_is_a_warning(followed: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("data")
    text = (
        f"[redis]\n[logger_in]\nstage = tail\nservicename = s\npushto = a\nlogfile = {followed}\n"
        "[worker_copy]\nstage = tests.samplestages:Copier\nlistento = a\nfanout = b\n"
        "[logger_out]\nstage = logfile\nlistento = b\nlogfile = data/out.log\n"
    )

    config = configure(tmp_path, text.replace("ROOT", str(tmp_path)))

    words = "[logger_in] follows this file, so its lines may go round for ever"
    assert config.warnings == (f"{tmp_path}/loglines.cfg:14 [logger_out] logfile: {words}",)


@pytest.mark.parametrize("followed", ["data/in.log", "*.log", "data/*/out.log"])
def test_a_log_of_another_pipeline_may_be_followed(followed: str, tmp_path: Path) -> None:
    sections = "".join(
        f"[logger_in{name}]\nstage = tail\nservicename = s\npushto = {name}\nlogfile = {log}\n"
        f"[logger_out{name}]\nstage = logfile\nlistento = {name}\nlogfile = data/{name}.log\n"
        for name, log in (("out", followed), ("next", "data/out.log"))
    )

    assert configure(tmp_path, f"[redis]\n{sections}").warnings == ()


def test_a_graph_of_many_branches_is_checked_at_once(tmp_path: Path) -> None:
    sections = ["[redis]\n[logger_in]\nstage = tests.samplestages:Feeder\npushto = l0\n"]
    for step in range(40):
        for side in "lr":
            sections.append(
                f"[worker_{side}{step}]\nstage = tests.samplestages:Copier\nlistento = {side}{step}\n"
                f"fanout = l{step + 1}, r{step + 1}\n"
            )

    config = configure(tmp_path, "".join(sections))

    assert "round for ever" not in "".join(config.warnings)
    assert graph.priorities(config.programs)["worker_l0"] > graph.priorities(config.programs)["worker_r39"]


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


@pytest.mark.parametrize(
    ("text", "address"),
    [("9001", "127.0.0.1:9001"), ("localhost:80", "localhost:80"), ("127.0.0.2:1", "127.0.0.2:1")],
)
def test_the_web_pages_are_for_this_machine(text: str, address: str, tmp_path: Path) -> None:
    config = configure(tmp_path, f"[redis]\n[supervisor]\nport = {text}\n")

    assert str(config.supervisor.port) == address
    assert config.supervisor.port.loopback


@pytest.mark.parametrize("text", ["*:9001", "0.0.0.0:9001", ":9001"])
def test_open_web_pages_with_a_password_are_a_warning(text: str, tmp_path: Path) -> None:
    config = configure(tmp_path, f"[redis]\n[supervisor]\nport = {text}\npassword = x\n", mode=0o640)

    assert config.supervisor.port == Address("", 9001)
    assert config.warnings == (
        f"{tmp_path}/loglines.cfg:3 [supervisor] port: other machines can reach it, and it speaks plain HTTP "
        "(found *:9001); 127.0.0.1 is safer",
    )


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ('A=1,TOKEN="hunter3"', "TOKEN"),
        ("GITHUB_TOKEN = hunter3", "GITHUB_TOKEN"),
        ("A=1,\n  PGPASSWORD='hunter3'", "PGPASSWORD"),
        ('AWS_SECRET_ACCESS_KEY="hunter3"', "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_secret_in_a_program_file_is_a_warning(environment: str, name: str, tmp_path: Path) -> None:
    config = configure(tmp_path, f"[redis]\n[process_a]\ncommand = x\nenvironment = {environment}\n", mode=0o640)

    words = f"{name} can be read by everybody in workers_available/process_a.conf; set it elsewhere and write"
    advice = f'{words} {name}="%(ENV_{name})s" here'
    assert config.warnings == (f"{tmp_path}/loglines.cfg:4 [process_a] environment: {advice}",)


@pytest.mark.parametrize(
    ("section", "line", "option"),
    [
        ("[redis]\npassword = hunter3\n", 2, "[redis] password"),
        ("[redis]\nurl = redis://:hunter3@localhost/0\n", 2, "[redis] url"),
        ("[redis]\n[supervisor]\npassword = hunter3\n", 3, "[supervisor] password"),
        ("[redis]\n[store_a]\nurl = s3://bucket/a\naccess_key = a\nsecret_key = hunter3\n", 5, "[store_a] secret_key"),
    ],
)
def test_a_secret_in_a_file_for_everybody_is_a_warning(section: str, line: int, option: str, tmp_path: Path) -> None:
    words = (
        "can be read by everybody, as this file can; chmod o-r it, or write %(ENV_NAME)s here and set NAME elsewhere"
    )

    assert configure(tmp_path, section).warnings == (f"{tmp_path}/loglines.cfg:{line} {option}: {words}",)
    assert configure(tmp_path, section, mode=0o640).warnings == ()


def test_a_secret_that_a_variable_holds_is_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELD", "hunter3")
    text = (
        "[redis]\nurl = redis://:%(ENV_HELD)s@localhost/0\n[supervisor]\npassword = %(ENV_HELD)s\n"
        '[process_a]\ncommand = x\nenvironment = TOKEN="%(ENV_HELD)s",TOKEN_FILE=/x,PASSWORD=""\n'
    )

    assert configure(tmp_path, text).warnings == ()


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
