"""One training step of Pix2Vox-F and -A, with PyTorch's defaults against the project's settings.

plain: float32, PyTorch's default layout. ours: channels_last and channels_last_3d, and bfloat16 autocast where the
processor multiplies it in hardware. Both run the same classes with the same weights, alternating in one process; the
median of each is printed, in seconds, one line per network and number of views. The last line is F at 8 views.

Every layer is trained, the trunk included, as long as no ImageNet weights are given to freeze; `--frozen` times the
published set-up, in which the trunk runs forward only.

    python benchmarks/bench_step.py           F and A at 1, 4 and 8 views
    python benchmarks/bench_step.py --quick   F at 8 views only
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch.nn.functional import binary_cross_entropy

from p2vlib.models import Pix2Vox, build, fast_bf16

CASES = [("A", 1), ("A", 4), ("A", 8), ("F", 1), ("F", 4), ("F", 8)]
NAMES = {"F": "pix2vox-f", "A": "pix2vox-a"}


def step(
    model: Pix2Vox, optimiser: torch.optim.Optimizer, views: torch.Tensor, truth: torch.Tensor, bf16: bool
) -> float:
    """Seconds of one forward and backward pass and one update."""
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        answer = model(views)
    volumes = (answer.coarse, answer.probability)
    loss = sum(binary_cross_entropy(volume.clamp(1e-6, 1 - 1e-6), truth) for volume in volumes)
    optimiser.zero_grad(set_to_none=True)
    (10 * loss).backward()
    optimiser.step()
    return time.perf_counter() - start


def compare(name: str, number: int, repeats: int, bf16: bool, frozen: bool) -> str:
    """Times ``repeats`` alternating pairs of steps after a first one of each that is not counted."""
    torch.manual_seed(0)
    ours = build(NAMES[name], freeze_trunk=frozen).train()
    plain = build(NAMES[name], freeze_trunk=frozen)
    plain.load_state_dict(ours.state_dict())
    plain.to(memory_format=torch.contiguous_format)
    ways = {"plain": (plain, False), "ours": (ours, bf16)}
    optimisers = {way: torch.optim.Adam(model.parameters(), lr=1e-4) for way, (model, _) in ways.items()}
    size = ours.config.image_size
    views, truth = torch.rand(1, number, 3, size, size), (torch.rand(1, *[ours.config.grid] * 3) > 0.9).float()
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for repeat in range(repeats + 1):
        for way, (model, autocast) in ways.items():
            taken = step(model, optimisers[way], views, truth, autocast)
            if repeat:
                seconds[way].append(taken)
    middle = {way: statistics.median(values) for way, values in seconds.items()}
    ratio = middle["plain"] / middle["ours"]
    return f"{name} {number} plain={middle['plain']:.3f} ours={middle['ours']:.3f} ratio={ratio:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="F at 8 views only")
    parser.add_argument("--frozen", action="store_true", help="the trunk gets no gradients, as published")
    parser.add_argument("--repeats", type=int, default=3, help="counted pairs of steps (3)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (2)")
    arguments = parser.parse_args()
    if arguments.repeats < 1 or arguments.threads < 1:
        parser.error("repeats and threads have to be at least 1")
    torch.set_num_threads(arguments.threads)
    bf16 = fast_bf16("cpu")
    precision = "bfloat16" if bf16 else "float32"
    print(f"{arguments.threads} threads, ours in {precision}, medians of {arguments.repeats}, seconds")
    for name, number in CASES[-1:] if arguments.quick else CASES:
        print(compare(name, number, arguments.repeats, bf16, arguments.frozen), flush=True)


if __name__ == "__main__":
    main()
