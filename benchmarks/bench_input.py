"""Time of the published augmentation: photo by photo with NumPy and OpenCV, and in batches on the device.

Both start from the same bytes in memory (R2N2's 137 pixels, RGBA) and end with the input of the encoder: the centre
cropped and resized to 224, a background, brightness, contrast and saturation, noise along the principal colours, a
flip, shuffled channels, values in [-1, 1]. First it is checked that both give the same photos without random changes.
They alternate in one process; the last line has the medians, in photos per second.

    python benchmarks/bench_input.py [--device cuda]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import cv2
import numpy as np
import torch

from p2vlib.data.augmentation import EIGENVALUES, EIGENVECTORS, PUBLISHED, Augmentation, augment

PHOTO, CROP, SIZE, VIEWS = 137, 128, 224, 4
LUMA = np.array(PUBLISHED.grey, np.float32)
OFF = dict(background=(0.9, 0.9), coloured_background=False, jitter=0.0, noise=0.0, permutation=False, flip=False)
STILL = replace(PUBLISHED, **OFF)


def one_by_one(photos: np.ndarray, recipe: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Augments photos one by one: ``[batch, views, 137, 137, 4]`` bytes to ``[batch, views, 3, 224, 224]``."""
    samples = []
    for views in photos:
        background = rng.uniform(*recipe.background, 3 if recipe.coloured_background else 1)
        brightness, contrast, saturation = rng.uniform(1 - recipe.jitter, 1 + recipe.jitter, 3).astype(np.float32)
        strength = rng.normal(0, recipe.noise, 3) if recipe.noise else np.zeros(3)
        noise = ((strength * EIGENVALUES) @ np.array(EIGENVECTORS).T).astype(np.float32)
        steps = range(3) if recipe.fixed_order else rng.permutation(3)
        order = rng.permutation(3) if recipe.permutation else np.arange(3)
        pictures = []
        for photo in views:
            edge = (PHOTO - CROP) // 2
            picture = photo[edge : edge + CROP, edge : edge + CROP].astype(np.float32) / 255
            picture = cv2.resize(picture, (SIZE, SIZE))
            picture = np.where(picture[..., 3:] > 0, picture[..., :3], background.astype(np.float32))
            for step in steps:
                grey = picture @ LUMA
                if step == 0:
                    picture = picture * brightness
                elif step == 1:
                    picture = grey.mean() + (picture - grey.mean()) * contrast
                else:
                    picture = grey[..., None] + (picture - grey[..., None]) * saturation
            picture = picture + noise
            picture = (picture - 0.5) / 0.5
            if recipe.flip and rng.random() < 0.5:
                picture = picture[:, ::-1]
            pictures.append(picture[..., order].transpose(2, 0, 1))
        samples.append(pictures)
    return np.ascontiguousarray(samples, np.float32)


def together(photos: torch.Tensor, recipe: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Augments all photos at once: ``[batch, views, 4, 137, 137]`` bytes to ``[batch, views, 3, 224, 224]``."""
    edge = (PHOTO - CROP) // 2
    box = torch.tensor([edge, edge, edge + CROP, edge + CROP], dtype=torch.float32, device=photos.device)
    return augment(photos, generator, recipe, box.expand(*photos.shape[:2], 4), SIZE).mul_(2).sub_(1)


def pictures(batch: int) -> np.ndarray:
    """Photos like those of R2N2: random colours in a disc with a soft outline, on a transparent background."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:PHOTO, :PHOTO] - PHOTO / 2
    photos = rng.integers(0, 256, (batch, VIEWS, PHOTO, PHOTO, 4), dtype=np.uint8)
    radius = rng.uniform(30, 60, (batch, VIEWS, 1, 1))
    photos[..., 3] = np.clip((radius - np.hypot(row, column)) * 255, 0, 255)
    return photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64, help=f"samples of {VIEWS} photos (64, as published)")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="processor threads of both (2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    photos = pictures(arguments.batch)
    on_device = torch.from_numpy(photos).permute(0, 1, 4, 2, 3).contiguous().to(arguments.device)
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
    off = np.abs(one_by_one(photos, STILL, rng) - together(on_device, STILL, generator).cpu().numpy()).max()
    if off > 1e-3:
        raise SystemExit(f"the two augmentations differ by {off:.4f}; expected the same photos")
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for repeat in range(arguments.repeats + 1):
        start = time.perf_counter()
        one_by_one(photos, PUBLISHED, rng)
        middle = time.perf_counter()
        together(on_device, PUBLISHED, generator)
        if on_device.is_cuda:
            torch.cuda.synchronize()
        end = time.perf_counter()
        if repeat:  # the first is warming up
            seconds["plain"].append(middle - start)
            seconds["ours"].append(end - middle)
    rate = {way: arguments.batch * VIEWS / statistics.median(values) for way, values in seconds.items()}
    ratio = rate["ours"] / rate["plain"]
    print(f"{arguments.device} plain={rate['plain']:.0f}/s ours={rate['ours']:.0f}/s ratio={ratio:.2f}")


if __name__ == "__main__":
    main()
