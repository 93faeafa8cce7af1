"""The published Pix2Vox-F and -A as they are published against ours: a training step and a forward pass.

published: the same layers in float32 and PyTorch's default memory layout, Adam, encoder and decoder view by view, as
in the published code, with the trunk frozen.
ours: channels-last in 2-D and 3-D, bfloat16 autocast where the processor multiplies it in hardware, all views at once,
the frozen trunk without gradients, and the fused optimiser of `p2vlib.training`. Both have the same weights and
alternate in one process; the table has the medians in seconds, their ratio, its aim, and the share of the
processor's peak that ours reaches: its floating-point operations, counted by PyTorch, against a large matrix product
measured in the same run.

    python benchmarks/bench_published.py             F and A at 1, 4 and 8 views
    python benchmarks/bench_published.py --quick     a step of F at 8 views
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from p2vlib.config import training_recipe
from p2vlib.models import Pix2Vox, Reconstruction, build, fast_bf16
from p2vlib.models.network import Batch
from p2vlib.training.losses import training_loss
from p2vlib.training.recipes import adamw

ASKED = {
    ("F", "step"): {1: 2.5, 4: 5.0, 8: 7.0},
    ("A", "step"): {1: 2.0, 4: 4.0, 8: 5.0},
    ("F", "forward"): {1: 2.5, 4: 5.0, 8: 6.0},
    ("A", "forward"): {1: 2.5, 4: 5.0, 8: 6.0},
}
"""Network and work -> views -> ratio."""


def forward_by_view(model: Pix2Vox, views: Tensor) -> Reconstruction:
    """The forward pass of the published code: encoder and decoder get the photos one after the other."""
    encoded = [model.encode(view[:, None]) for view in views.unbind(1)]
    return model.fuse(tuple(torch.cat(parts, 1) for parts in zip(*encoded, strict=True)))


def peak(dtype: torch.dtype, device: str = "cpu", size: int = 2048) -> float:
    """Operations per second of a matrix product, the fastest of five."""
    one, other = torch.randn(2, size, size, device=device).to(dtype).unbind()
    return 2 * size**3 / min(seconds(lambda: one @ other, device) for _ in range(5))


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """The time that ``work`` takes, on a GPU until it is done."""
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


class Way:
    """One way of running a network."""

    def __init__(self, model: torch.nn.Module, batch: Batch, plain: bool, device: str = "cpu") -> None:
        self.model, self.batch, self.plain, self.device = model.train().to(device), batch, plain, device
        if plain:
            model.to(memory_format=torch.contiguous_format)
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(trained, 1e-3)
        else:
            self.optimizer = adamw(model, training_recipe("published"))

    def forward(self) -> Reconstruction:
        """The prediction."""
        with torch.autocast(self.device, torch.bfloat16, enabled=not self.plain and fast_bf16(self.device)):
            if self.plain and isinstance(self.model, Pix2Vox) and self.model.order_free:
                return forward_by_view(self.model, self.batch.views)
            return self.model(self.batch.views, self.batch.cameras)

    def infer(self) -> None:
        """The prediction without gradients, in evaluation mode."""
        with torch.no_grad():
            self.model.eval()
            self.forward()
            self.model.train()

    def step(self) -> None:
        """Forward, loss, backward and update."""
        training_loss(self.model, self.forward(), self.batch, "published").backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def random_batch(pixels: int, samples: int, views: int, device: str = "cpu", cameras: Tensor | None = None) -> Batch:
    """Photos of noise and solids that fill a tenth of their cubes."""
    truth = torch.rand(samples, 32, 32, 32, device=device) > 0.9
    photos = torch.rand(samples, views, 3, pixels, pixels, device=device)
    return Batch(photos, cameras, truth, cameras, generator=torch.Generator().manual_seed(0))


def compare(name: str, work: str, views: int, repeats: int, peaks: dict[torch.dtype, float]) -> str:
    """A row of the table; the first pair of runs does not count."""
    torch.manual_seed(0)
    ours, published = (build(f"pix2vox-{name.lower()}", image_size=224) for _ in range(2))
    published.load_state_dict(ours.state_dict())
    batch = random_batch(224, 1, views)
    runs = [
        getattr(Way(model, batch, plain), "infer" if work == "forward" else "step")
        for model, plain in ((published, True), (ours, False))
    ]
    with FlopCounterMode(display=False) as counter:
        runs[1]()
    runs[0]()
    times = [[seconds(run) for run in runs] for _ in range(repeats)]
    plain, fast = (statistics.median(column) for column in zip(*times, strict=True))
    rate = counter.get_total_flops() / fast
    share = rate / peaks[torch.bfloat16 if fast_bf16("cpu") else torch.float32]
    asked = ASKED[name, work].get(views, float("nan"))
    cells = [name, work, views, f"{plain:.3f}", f"{fast:.3f}", f"{plain / fast:.1f}", asked, f"{rate / 1e9:.0f}"]
    return "| " + " | ".join(map(str, [*cells, f"{share:.0%}"])) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only a training step of F at 8 views")
    parser.add_argument("--networks", nargs="*", default=["F", "A"], choices=["F", "A"])
    parser.add_argument("--repeats", type=int, default=3, help="counted pairs of runs (3)")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    peaks = {dtype: peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
    print(
        f"{options.threads} threads; peak {peaks[torch.float32] / 1e9:.0f} GFLOP/s in float32, "
        f"{peaks[torch.bfloat16] / 1e9:.0f} in bfloat16; medians of {options.repeats}\n"
    )
    print("| network | work | views | published, s | ours, s | ratio | aim | ours, GFLOP/s | of the peak |")
    print("|---|---|---|---|---|---|---|---|---|")
    cases = [(*case, views) for case, asked in ASKED.items() for views in asked if case[0] in options.networks]
    for name, work, views in [("F", "step", 8)] if options.quick else cases:
        print(compare(name, work, views, options.repeats, peaks), flush=True)


if __name__ == "__main__":
    main()
