"""``python -m renma`` is the command ``renma``."""

from renma.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
