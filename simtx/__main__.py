"""``python -m simtx``: the command line."""

from simtx.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
