"""What is to be installed has a name of its own: on the package index `aggregator` is another project's."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from configparser import ConfigParser

from aggregator.config.installation import pip_install
from tests.processes import PROJECT

READ = (".md", ".py", ".cfg", "Makefile", "run")


def test_no_advice_names_the_package_of_another_project() -> None:
    folders = [PROJECT / name for name in ("aggregator", "benchmarks", "docs", "plugins", "tests", ".ci")]
    files = [file for folder in folders for file in folder.rglob("*") if file.name.endswith(READ)]
    files += [file for file in PROJECT.iterdir() if file.name.endswith(READ)]
    foreign = re.compile(r"pip3? install (?:-\S+ )*['\"]?aggregator\b|(?<![\w-])aggregator\[(?:\w+,?)+\]")
    ours = {PROJECT / "CHANGELOG.md", PROJECT / "tests/security/test_distribution.py"}

    # once the demo has run here, `run` is a folder too
    read = [file for file in files if file.is_file() and file not in ours]
    found = [str(file) for file in read if foreign.search(file.read_text())]

    assert len(read) > 100
    assert found == []


def test_the_distribution_is_not_called_aggregator() -> None:
    setup = ConfigParser()
    setup.read(PROJECT / "setup.cfg")

    assert setup["metadata"]["name"] == "loglines-aggregator"
    assert setup["options.entry_points"]["console_scripts"].strip() == "aggregator = aggregator.cli:main"


def test_advice_to_install_names_the_pip_of_this_python() -> None:
    command = shlex.split(pip_install("pyarrow"))

    told = subprocess.run([*command[:3], "--version"], capture_output=True, text=True, check=True).stdout

    assert command == [sys.executable, "-m", "pip", "install", "pyarrow"]
    assert sys.prefix in told
