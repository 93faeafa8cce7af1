"""`python -m p2vlib` says where the commands are."""

import sys

sys.exit("p2vlib is a library; the commands are in p2vtools: run `p2v --help`, or `python -m p2vtools --help`")
