"""What can be typed behind ``python -m p2vtools``: each command with its options, and what it says.

Heavy packages are imported by the command that needs them, so that ``--help`` answers at once.
"""
