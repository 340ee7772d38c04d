#!/usr/bin/env python3
"""Turn loglines.cfg into supervisord.conf and program files; the same as `aggregator config build`."""

import sys

from aggregator.supervision.generator import main

if __name__ == "__main__":
    sys.exit(main())
