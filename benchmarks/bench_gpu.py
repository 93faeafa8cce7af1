"""A training step and inference of the published networks and the camera-aware one, on a GPU if there is one.

plain: float32 in PyTorch's default memory layout and Adam, Pix2Vox view by view (`bench_published`). ours:
channels-last, bfloat16, all views at once, the fused optimiser; `--compiled` also compiles it. Inference is of single
photos in batches, in objects per second; published: 46 on an RTX 2060.

    python benchmarks/bench_gpu.py [--compiled]
"""

from __future__ import annotations

import argparse
import statistics

import torch
from bench_published import Way, peak, random_batch, seconds
from gpu_study import example_cameras
from torch.utils.flop_counter import FlopCounterMode

from p2vlib.models import CONFIGS, build, fast_bf16, to_fast_layout

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NETWORKS = ("pix2vox-f", "pix2vox-a", "pix2vox-lstm", "unprojection")
PUBLISHED_RATE = 46


def measure(name: str, samples: int, views: int, repeats: int, compiled: bool, top: float) -> str:
    """A row of the table."""
    torch.manual_seed(0)
    ours, plain = build(name), build(name)
    plain.load_state_dict(ours.state_dict())
    to_fast_layout(ours, compiled)
    cameras = example_cameras(samples, views) if ours.needs_cameras else None
    batch = random_batch(ours.config.image_size, samples, views, DEVICE, cameras)
    single = batch._replace(views=batch.views[:, :1], cameras=None if cameras is None else cameras[:, :1])
    ways = [Way(plain, batch, True, DEVICE), Way(ours, batch, False, DEVICE)]
    with FlopCounterMode(display=False) as counter:
        ways[1].step()
    if compiled:
        ours.compile()
    for way in ways:
        way.step()
    slow, fast = (
        statistics.median(column)
        for column in zip(*([seconds(way.step, DEVICE) for way in ways] for _ in range(repeats)), strict=True)
    )
    ways[1].batch = single
    ways[1].infer()
    rate = samples / statistics.median(seconds(ways[1].infer, DEVICE) for _ in range(repeats))
    share = counter.get_total_flops() / fast / top
    cells = [name, f"{1000 * slow:.1f}", f"{1000 * fast:.1f}", f"{slow / fast:.1f}", f"{samples * views / fast:.0f}"]
    return "| " + " | ".join([*cells, f"{share:.0%}", f"{rate:.0f}", f"{rate / PUBLISHED_RATE:.1f}"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=NETWORKS, choices=list(CONFIGS), metavar="NAME")
    parser.add_argument("--samples", type=int, default=32, help="captures in a batch (32)")
    parser.add_argument("--views", type=int, default=4, help="photos of each (4)")
    parser.add_argument("--repeats", type=int, default=10, help="counted pairs of steps (10)")
    parser.add_argument("--compiled", action="store_true", help="compile our network")
    options = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    top = peak(torch.bfloat16 if fast_bf16(DEVICE) else torch.float32, DEVICE, 8192 if DEVICE == "cuda" else 1024)
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    print(f"{card}, torch {torch.__version__}; {options.samples} captures of {options.views} photos; ", end="")
    print(f"peak {top / 1e12:.2f} TFLOP/s; medians of {options.repeats}\n")
    print("| network | plain, ms | ours, ms | ratio | input photos/s | of the peak | objects/s | of published |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.networks:
        print(measure(name, options.samples, options.views, options.repeats, options.compiled, top), flush=True)


if __name__ == "__main__":
    main()
