#!/usr/bin/env python3
"""Turn loglines.cfg into supervisord.conf and program files; the same as `aggregator config build`."""

import sys

if not getattr(sys.flags, "safe_path", False):
    # this script's folder moves to the end of sys.path, so that its files cannot replace installed modules
    sys.path.append(sys.path.pop(0))

import os
from pathlib import Path

VENV = Path(__file__).resolve().parent / ".venv"

try:
    from aggregator.commands.generator import main
except ModuleNotFoundError as error:
    # this Python is another one than the one for which `make run` installed everything
    if (VENV / "bin/python").exists() and Path(sys.prefix).resolve() != VENV:
        os.execv(VENV / "bin/python", [str(VENV / "bin/python"), *sys.argv])
    sys.exit(f"{error.name} is not installed; `make run` installs what is needed into .venv")

if __name__ == "__main__":
    sys.exit(main())
