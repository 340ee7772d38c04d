"""Run the command `aggregator` as `python -m aggregator`."""

import sys

if not getattr(sys.flags, "safe_path", False):
    # -m puts the working folder first in sys.path; moved to the end, its files cannot replace installed modules
    sys.path.append(sys.path.pop(0))

from aggregator.cli import main

if __name__ == "__main__":
    sys.exit(main())
