"""Crops of photos and cameras to a cube in the world, which are the input of a network, and its prediction there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from p2vlib.data.augmentation import preprocess
from p2vlib.data.dataset import Captures, crop_and_resize, mirror_boxes, mirror_cameras, mirror_views
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SHARE, Cube
from p2vlib.geometry.placement import Cameras, solid_boxes
from p2vlib.geometry.projection import render_silhouettes
from p2vlib.models import Reconstruction
from p2vtools.fit.photo_set import PhotoSet
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.silhouette_fitting import Masks

Pose = Float[np.ndarray, "4 4"]
"""From the frame of the foot to that of the cameras, metres: rotation about y and translation on the floor."""

CLOSE_MARGIN = 1.25
"""Edge of a crop to a foot, relative to the smallest square around its projection."""


class FootNotSeenError(ValueError):
    """A camera does not see the cube of the foot, or is inside it. Arguments: name of the photo, description."""

    def __str__(self) -> str:
        return ": ".join(self.args)


def crop_to_cube(
    photo_set: PhotoSet,
    pose: Pose,
    cube: Cube,
    size: int,
    outside: Literal["edge", "constant"] = "edge",
    solid: Bool[Tensor, "x y z"] | None = None,
) -> Captures:
    """The input of a network with ``size`` pixels: photos cropped to ``cube`` in the frame ``pose``.

    A right foot is mirrored. The truth is unknown.

    Args:
        outside: pixels outside a photo, as in `crop_and_resize`.
        solid: the foot in the cube. If given, the photos are cropped to it instead, with a margin (`CLOSE_MARGIN`).

    Raises:
        FootNotSeenError: a camera that does not see the cube.
    """
    photos, cameras = [], []
    for photo, camera, box, name in project_cube(photo_set, pose, cube):
        if box[2] < 0 or box[3] < 0 or box[0] > photo.width or box[1] > photo.height:
            raise FootNotSeenError(name, "its camera does not see the position of the foot; check the row of the photo")
        if solid is not None:
            matrix = torch.from_numpy(camera.normalised(cube, box))[None, None]
            box = tuple(solid_boxes(solid[None], matrix, torch.tensor([[box]]), CLOSE_MARGIN)[0, 0].tolist())
        try:
            photos.append(crop_and_resize(photo, box, size, outside))
        except ValueError as error:  # a camera that nearly touches the cube
            raise FootNotSeenError(name, str(error)) from None
        cameras.append(camera.normalised(cube, box))
    return as_left_captures(photos, cameras, photo_set.side)


def project_cube(
    photo_set: PhotoSet, pose: Pose, cube: Cube
) -> Iterator[tuple[Image.Image, Camera, tuple[float, ...], str]]:
    """Each photo, its camera in the frame ``pose``, the box of the lower part of ``cube`` in it, and its name.

    Raises:
        FootNotSeenError: a camera inside the cube, or one that looks away from it.
    """
    for photo, camera, name in zip(photo_set.photos, photo_set.cameras, photo_set.names, strict=True):
        moved = replace(camera, extrinsics=camera.extrinsics @ pose)
        try:
            box = moved.crop_box(cube, FOOT_SHARE * cube.edge)
        except ValueError as error:
            raise FootNotSeenError(name, f"{error}; its pose does not agree with the other photos") from None
        yield photo, moved, box, name


def as_left_captures(
    photos: list[np.ndarray], cameras: list[np.ndarray], side: str, boxes: Sequence[np.ndarray] = (), size: int = 0
) -> Captures:
    """Photos and cameras of one foot as `Captures` of one row; a right foot is mirrored.

    Args:
        boxes: crop boxes in the photos, pixels, for photos that are not cropped yet.
        size: edge to which these crops are resized, pixels.
    """
    is_right, no_truth = torch.tensor([side == "right"]), torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    pixels = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)[None]
    pixels, _ = mirror_views(pixels, no_truth, is_right)
    left_cameras = mirror_cameras(torch.tensor(np.stack(cameras), dtype=torch.float32)[None], is_right)
    places = None
    if len(boxes):
        places = mirror_boxes(torch.tensor(np.stack(boxes), dtype=torch.float32)[None], pixels.shape[-1], is_right)
    return Captures(pd.DataFrame({"sample": ["capture"]}), pixels, no_truth, left_cameras, places, size)


def predict_cube(
    weights: PretrainedModel, photo_set: PhotoSet, pose: Pose, cube: Cube, solid: Bool[Tensor, "x y z"] | None = None
) -> tuple[Reconstruction, Cameras]:
    """Prediction in ``cube`` of the frame ``pose``, and the cameras passed to the network; a right foot is mirrored.

    The photos are cropped to the cube, or to the ``solid`` in it.
    """
    captures = crop_to_cube(photo_set, pose, cube, weights.model.config.image_size, weights.outside, solid)
    with torch.no_grad():
        return weights.model(preprocess(captures.photos), captures.cameras), captures.cameras


def predict_masks(weights: PretrainedModel, photo_set: PhotoSet, pose: Pose, cube: Cube) -> tuple[Masks, Cameras]:
    """As `predict_cube`, but only the silhouettes, which takes a fraction of the time."""
    captures = crop_to_cube(photo_set, pose, cube, weights.model.config.image_size, weights.outside)
    with torch.no_grad():
        return weights.model.predict_masks(preprocess(captures.photos)), captures.cameras


def predict_closely(weights: PretrainedModel, photo_set: PhotoSet, pose: Pose) -> tuple[Reconstruction, Cameras]:
    """As `predict_cube` in `FOOT_CUBE`, repeated with crops to the predicted foot if the network was trained with them.

    A camera close to a foot sees little of the cube, so most of a crop to the cube lies beyond the photo.
    """
    first, cameras = predict_cube(weights, photo_set, pose, FOOT_CUBE)
    solid = first.probability[0] >= weights.threshold
    if not weights.takes_close_crops or not solid.any():
        return first, cameras
    return predict_cube(weights, photo_set, pose, FOOT_CUBE, solid.flip(-1) if photo_set.side == "right" else solid)


def silhouette_iou(prediction: Reconstruction, cameras: Cameras, threshold: float) -> list[float]:
    """IoU between the silhouettes of the volume and the predicted masks, for each view."""
    solid = (prediction.probability >= threshold).float()
    rendered = render_silhouettes(solid, cameras, prediction.mask_probability.shape[-1])[0] > 0.5
    masks = prediction.mask_probability[0] > 0.5
    intersection, union = (rendered & masks).sum((1, 2)), (rendered | masks).sum((1, 2))
    return (intersection / union.clamp(min=1)).tolist()
