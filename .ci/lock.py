"""Writes requirements.lock and requirements-cuda.lock, with the hashes of all packages: ``make lock``, which needs uv.

The locks hold for every system. The packages of CUDA have a file of their own, because the build of torch for CPUs does
without them. That build, which PyTorch's own index has, is in requirements-cpu.lock; its hash is kept by hand.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]

CUDA = re.compile(r"(nvidia|cuda|triton)\b")

command = "uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate"
locked = subprocess.run([*command.split(), "requirements.txt"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
packages = re.split(r"\n(?=\S)", locked.stdout.strip())
for name, is_cuda in (("requirements.lock", False), ("requirements-cuda.lock", True)):
    entries = [entry for entry in packages if bool(CUDA.match(entry)) == is_cuda]
    (ROOT / name).write_text("\n".join(entries) + "\n", encoding="utf-8")
