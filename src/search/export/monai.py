{% include "head.py" %}

import numpy as np
import torch
from monai.transforms import AdjustContrast, Affined, Flipd, Rand3DElasticd
from scipy.spatial.transform import Rotation

{% include "sampling.py" %}
{% include "drawing.py" %}
{% include "linear.py" %}


def spatial_transform(numbers, rng):
    """The library's transform with the numbers of one draw; None if there is nothing to do."""
{%- if cubic %}
    # The image by cubic B-splines: order 3.
{%- else %}
    # Not expressed: up to half a voxel outside the volume the library blends with 0 where the
    # training takes 0.
{%- endif %}
{%- if not nearest %}
    # Of labels, each one's indicator is interpolated.
{%- endif %}
    modes = [{{ "3" if cubic else '"bilinear"' }}, "{{ "nearest" if nearest else "bilinear" }}"]
    common = {"keys": ["image", "label"], "mode": modes, "padding_mode": "zeros"}
    rotation = grid_rotation(numbers)
    # As here, above 1 the content shrinks: both scale the sampling grid.
    scale = numbers["scale"] or 1.0
    if numbers["elastic"] is not None:
        alpha, sigma = numbers["elastic"]["alpha"], numbers["elastic"]["sigma"]
        # Displacement first, then rotation and scale, in one resampling. The library turns z
        # first and by the angles' inverse, hence other angles for the same rotation. Not
        # expressed: it cuts the smoothing off at 3 sigma, the training at 4.
        transform = Rand3DElasticd(
            sigma_range=(sigma, sigma),
            magnitude_range=(alpha, alpha),
            prob=1,
            rotate_range=[(angle, angle) for angle in rotation.as_euler("XYZ")],
            scale_range=[(scale - 1, scale - 1)] * 3,
            **common,
        )
        return transform.set_random_state(seed=int(rng.integers(2**32)))
    if numbers["rotation"] is not None or numbers["scale"] is not None:
        affine = np.eye(4)
        affine[:3, :3] = rotation.as_matrix() * scale
        return Affined(affine=affine, **common)
    return None


def apply(image, label, numbers, rng):
    """Augments one sample by the numbers of a draw; rng gives the noise of the displacement."""
    values, indicators = one_hot(label)
    data = {"image": torch.from_numpy(image.astype(np.float32))}
    data["label"] = torch.from_numpy(indicators)
    transform = spatial_transform(numbers, rng)
    if transform is not None:
        data = transform(data)
    if numbers["gamma"] is not None:
        # Each channel with its own exponent and statistics.
        channels = [
            AdjustContrast(exponent, retain_stats=True)(channel)
            for exponent, channel in zip(numbers["gamma"], data["image"])
        ]
        data["image"] = restore_zero(torch.stack(channels), data["image"].numpy())
    axes = [axis for axis in range(3) if numbers["mirror"][axis]]
    if axes:
        data = Flipd(keys=["image", "label"], spatial_axis=axes)(data)
    result = np.asarray(data["image"]).astype(image.dtype)
    return result, most_present(values, np.asarray(data["label"])).astype(label.dtype)
{% include "main.py" %}
