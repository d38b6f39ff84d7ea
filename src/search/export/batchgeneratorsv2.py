{% include "head.py" %}

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from scipy.ndimage import gaussian_filter

{% include "sampling.py" %}
{% include "drawing.py" %}


def largest_displacement(elastic, shape, rng):
    """The largest displacement, in voxels, of a field of noise U(-1, 1), smoothed, times alpha."""
    noise = rng.uniform(-1, 1, shape).astype(np.float32)
    field = gaussian_filter(noise, elastic["sigma"], mode="constant")
    return float(elastic["alpha"] * np.abs(field).max())


def spatial_transform(numbers, shape, rng):
    """The library's transform with the numbers of one draw."""
    # The library turns z first and by the inverse matrix: the same angles with the other sign
    # are x first.
    angles = [-np.radians(angle) for angle in numbers["rotation"] or (0.0, 0.0, 0.0)]
    elastic = numbers["elastic"] or {"alpha": 0.0, "sigma": 1.0}
    # The library scales normally distributed noise to a largest displacement instead of by
    # alpha; that of a field as in the training is taken. Not expressed: the training smooths
    # with zeros outside the patch, the library wraps round.
    magnitude = largest_displacement(elastic, shape, rng) if numbers["elastic"] else 0.0
    return SpatialTransform(
        patch_size=shape,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=float(numbers["elastic"] is not None),
        elastic_deform_scale=lambda dim, patch_size, **_: elastic["sigma"] / patch_size[dim],
        elastic_deform_magnitude=magnitude,
        p_rotation=float(numbers["rotation"] is not None),
        rotation=lambda dim, **_: angles[dim],
        p_scaling=float(numbers["scale"] is not None),
        # As here, above 1 the content shrinks.
        scaling=numbers["scale"] or 1.0,
        p_synchronize_scaling_across_axes=1,
        center_deformation=False,
        # Not expressed: up to half a voxel outside the volume the library blends with 0 where the
        # training takes 0.
{%- if cubic %}
        # Not expressed: the training read images by cubic B-splines, which the library lacks.
{%- endif %}
        mode_image="bilinear",
        padding_mode_image="zeros",
{%- if nearest %}
        mode_seg="nearest",
{%- else %}
        # Each label's indicator is interpolated, the largest wins.
        mode_seg="bilinear",
{%- endif %}
        border_mode_seg="zeros",
    )


def apply(image, label, numbers, rng):
    """Augments one sample by the numbers of a draw; rng gives the noise of the displacement."""
    data = {
        "image": torch.from_numpy(image.astype(np.float32)),
        "segmentation": torch.from_numpy(label[None].astype(np.int16)),
    }
    # The library draws its noise from the global generators of torch and numpy: seeded here and
    # put back afterwards.
    state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            seed = int(rng.integers(2**32))
            np.random.seed(seed)
            torch.manual_seed(seed)
            data = spatial_transform(numbers, label.shape, rng)(**data)
    finally:
        np.random.set_state(state)
    if numbers["gamma"] is not None:
        gamma = GammaTransform(
            gamma=lambda channel, **_: numbers["gamma"][channel],
            p_invert_image=0,
            synchronize_channels=False,
            p_per_channel=1,
            p_retain_stats=1,
        )
        zero = (data["image"] == 0).all(dim=0) & KEEP_ZERO
        data = gamma(**data)
        data["image"][:, zero] = 0
    mirror = MirrorTransform(allowed_axes=(0, 1, 2))
    data = mirror.apply(data, axes=[axis for axis in range(3) if numbers["mirror"][axis]])
    result = data["image"].numpy().astype(image.dtype)
    return result, data["segmentation"][0].numpy().astype(label.dtype)
{% include "main.py" %}
