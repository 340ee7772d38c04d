"""Start a Python that executes nothing from the folder it is started in.

`python -m NAME` and `python -c CODE` look for every module in the working folder first, so that a file `msgspec.py`
there would run in place of the library of that name. The option -P exists only from Python 3.11 on, and -I would also
leave out PYTHONPATH and the packages that a user has installed for himself.
"""

from __future__ import annotations

import sys

# An empty entry stands for the working folder. With -P or PYTHONSAFEPATH there is no such entry.
_WITHOUT_FOLDER = "import sys; sys.path = [entry for entry in sys.path if entry]; sys.argv[0] = 'aggregator'"

COMMAND_LINE = "from aggregator.cli import main; sys.exit(main())"
SUPERVISORCTL = "from aggregator.supervision.supervisorctl import main; main()"
SUPERVISORD = "from aggregator.supervision.supervisord import main; main()"


def python(statements: str, *arguments: str) -> list[str]:
    """Return the command that runs statements in a Python like this one; `sys` is imported for them."""
    return [sys.executable, "-c", f"{_WITHOUT_FOLDER}; {statements}", *arguments]
