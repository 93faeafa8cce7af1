"""`python -m p2vlib` has moved: the command is `p2v`, or `python -m p2vtools`."""

from __future__ import annotations

import sys

sys.exit("p2vlib is a library; the commands are in p2vtools: run `p2v --help`, or `python -m p2vtools --help`")
