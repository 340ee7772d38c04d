"""Let `python -m aggregator` be `aggregator`."""

import sys

if not getattr(sys.flags, "safe_path", False):
    # -m put the working folder in front: what lies there stands in for no module that is installed
    sys.path.append(sys.path.pop(0))

from aggregator.cli import main

if __name__ == "__main__":
    sys.exit(main())
