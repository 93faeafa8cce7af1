"""`python -m p2vlib` says where the commands are."""

raise SystemExit("p2vlib is a library; the commands are in p2vtools: run `p2v --help`, or `python -m p2vtools --help`")
