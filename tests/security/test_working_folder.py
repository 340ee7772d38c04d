"""Nothing that lies in the working folder is executed: not what is called as a library is, nor the library's parts."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator import registry
from aggregator.config.loading import load
from aggregator.supervision import build
from tests.instance import Instance
from tests.processes import PROJECT

TRAPS = ("__future__", "argparse", "msgspec", "pathlib", "redis", "signal", "simplejson", "supervisor")


class Traps:
    """A folder with a file for each of many libraries, which notes that it was executed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._noted = folder / "executed"

    def lay(self, folder: Path) -> None:
        """Put them into a folder."""
        for name in TRAPS:
            (folder / f"{name}.py").write_text(f"open({str(self._noted)!r}, 'a').write('{name} ')\n")

    @property
    def executed(self) -> str:
        """The names of those that were executed."""
        return self._noted.read_text() if self._noted.exists() else ""

    def run(self, *command: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | variables
        words = [str(word) for word in command]
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def traps(tmp_path: Path) -> Traps:
    """A working folder full of them."""
    found = Traps(tmp_path)
    found.lay(tmp_path)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a built instance."""
    folder = tmp_path / "instance"
    folder.mkdir()
    file = folder / "loglines.cfg"
    file.write_text("[redis]\nhost = 127.0.0.1\n[process_a]\ncommand = cat\n")
    build(load(file, folder))
    return folder


def test_the_launcher_of_an_instance_executes_nothing_of_the_working_folder(traps: Traps, root: Path) -> None:
    ran = traps.run(root / "run/aggregator", "config", "check")

    assert traps.executed == ""
    assert ran.stdout.startswith(f"{root}/loglines.cfg: fine"), ran.stderr


@pytest.mark.parametrize("path", ["", ":", ":/x y", "/x::/y", "/x:"])
def test_an_empty_entry_of_pythonpath_is_not_the_working_folder(traps: Traps, root: Path, path: str) -> None:
    (traps.folder / "sitecustomize.py").write_text(f"open({str(traps.folder / 'executed')!r}, 'a').write('site')\n")

    ran = traps.run(root / "run/aggregator", "config", "check", PYTHONPATH=path)

    assert traps.executed == ""
    assert ran.stdout.startswith(f"{root}/loglines.cfg: fine"), ran.stderr


def test_supervisorctl_executes_nothing_of_the_working_folder(traps: Traps, root: Path) -> None:
    ran = traps.run(root / "run/supervisorctl", "version")

    assert traps.executed == ""
    assert ran.stdout.endswith("/supervisor.sock no such file\n"), ran.stderr


def test_python_with_m_prefers_what_is_installed_to_the_working_folder(traps: Traps, root: Path) -> None:
    ran = traps.run(sys.executable, "-m", "aggregator", "-r", root, "config", "check")

    assert traps.executed == ""
    assert ran.stdout.startswith(f"{root}/loglines.cfg: fine"), ran.stderr


def test_the_generator_executes_nothing_that_lies_beside_it(traps: Traps, root: Path) -> None:
    script = traps.folder / "create_supervisord_config.py"
    shutil.copy(PROJECT / "create_supervisord_config.py", script)

    ran = traps.run(sys.executable, script, "-r", root)

    assert traps.executed == ""
    assert (ran.stdout, ran.stderr) == ("nothing to change\n", "")


def test_a_running_instance_executes_nothing_of_its_own_folder_but_plugins(tmp_path: Path) -> None:
    traps = Traps(tmp_path)
    pipeline = "[logger_tail]\nstage = tail\nlogfile = in.log\nservicename = s\npushto = lines\n"
    with Instance(f"{pipeline}[logger_file]\nstage = logfile\nlistento = lines\nlogfile = out.log\n") as instance:
        build(instance.config())
        traps.lay(instance.root)
        instance.start()
        for path in instance.root.glob("*.py"):
            path.unlink()

    assert traps.executed == ""


def test_a_file_of_the_instance_stands_in_for_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    for name in ("wave.py", "plays.py"):
        (tmp_path / name).write_text("import wave\nNAME = 'mine'\n")

    plays = registry.load_module("plays", tmp_path)

    assert plays.wave is importlib.import_module("wave")
    assert not hasattr(plays.wave, "NAME")


@pytest.fixture
def no_plugins() -> Iterator[None]:
    """No package of plugins is imported yet; afterwards those are that were before."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "plugins"}
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugins"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.usefixtures("no_plugins")
def test_plugins_come_from_the_instance_though_a_package_of_their_name_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path / "installed"), *sys.path])
    for folder in ("installed", "root"):
        (tmp_path / folder / "plugins").mkdir(parents=True)
        (tmp_path / folder / "plugins" / "__init__.py").write_text(f"FOLDER = {folder!r}\n")
        (tmp_path / folder / "plugins" / "mine.py").write_text("from plugins import FOLDER\n")

    assert registry.load_module("plugins.mine", tmp_path / "root").FOLDER == "root"


def test_the_class_that_a_module_lacks_is_told_with_the_place_of_the_module(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wave has no class Stage; it was found in .*wave\.py"):
        registry.load_stage("wave:Stage", tmp_path)
