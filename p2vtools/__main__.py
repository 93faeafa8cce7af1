"""``python -m p2vtools`` does what ``p2v`` does."""

import sys

from p2vtools.cli import main

if __name__ == "__main__":
    sys.exit(main())
