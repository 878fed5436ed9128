"""``python -m simtx.cli``: the same as ``simtx``."""

import sys

from simtx.cli import main

sys.exit(main())
