"""``python -m simtx.cli``: the same as ``simtx``."""

import sys

from simtx.cli.app import main

sys.exit(main())
