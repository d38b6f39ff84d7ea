{% include "head.py" %}

import numpy as np
import torch
import torchio as tio
from scipy.spatial.transform import Rotation

{% include "sampling.py" %}
{% include "drawing.py" %}
{% include "linear.py" %}


def control_points(elastic, shape, rng):
    """Displacements of a grid of control points, (n, n, n, 3), in voxels.

    The library has no smoothed noise, but cubic B-splines. A cubic B-spline of control points
    that lie h apart smooths as a Gaussian of sigma = h / sqrt(3) does, and its coefficients are
    scaled so that the displacements have the training's standard deviation,
    alpha sqrt(1/3) (2 sqrt(pi) sigma)^(-3/2). Not expressed: a sigma below a voxel (1 / sqrt(3)
    is the least), and the zeros outside the patch that damp the training's noise at its border.
    """
    sigma = max(elastic["sigma"], 1 / np.sqrt(3))
    cells = [max(1, round(edge / (sigma * np.sqrt(3)))) for edge in shape]
    points = rng.uniform(-1, 1, [n + 3 for n in cells] + [3])
    # 151 / 315: the mean of the squared weights of a cubic B-spline along one axis.
    return points * elastic["alpha"] * (2 * np.sqrt(np.pi) * sigma * 151 / 315) ** -1.5


def spatial_transform(numbers, shape, rng):
    """The library's transform with the numbers of one draw; None if there is nothing to do."""
    if numbers["elastic"] is None and numbers["rotation"] is None and numbers["scale"] is None:
        return None
    # The library's angles and scale are those of the content, not of the sampling grid: the
    # inverse rotation, and a scale above 1 enlarges. It turns y first, then x, then z.
    z, x, y = grid_rotation(numbers).inv().as_euler("ZXY", degrees=True)
    affine = {
        "scales": (1 / (numbers["scale"] or 1.0),) * 3,
        "degrees": (x, y, z),
        "translation": (0, 0, 0),
        # Not expressed: up to half a voxel outside the volume the library repeats the border where
        # the training takes 0.
        "default_pad_value": 0,
        "image_interpolation": "{{ "bspline" if cubic else "linear" }}",
{%- if not nearest %}
        # Each label's indicator is interpolated, the largest wins.
{%- endif %}
        "label_interpolation": "{{ "nearest" if nearest else "linear" }}",
    }
    if numbers["elastic"] is None:
        return tio.Affine(**affine)
    points = control_points(numbers["elastic"], shape, rng)
    elastic = {
        "control_points": points,
        "max_displacement": (float(np.abs(points).max()),) * 3,
        "image_interpolation": "{{ "bspline" if cubic else "linear" }}",
        "label_interpolation": "{{ "nearest" if nearest else "linear" }}",
    }
    # The displacement acts first on the sampling grid, so the affine part first on the content.
    return tio.AffineElasticDeformation(True, affine, elastic)


def gamma(image, exponents):
    """Gamma of each channel (C, D, H, W) with its mean and standard deviation kept.

    The library's gamma takes values of 0 to 1 and keeps no statistics: both are done around it.
    """
    axes = (1, 2, 3)
    low = image.min(axis=axes, keepdims=True)
    unit = (image - low) / (image.max(axis=axes, keepdims=True) - low + 1e-7)
    volume = tio.ScalarImage(tensor=torch.from_numpy(unit))
    result = tio.Gamma(tuple(exponents))(volume).data.numpy()
    result = result - result.mean(axis=axes, keepdims=True)
    spread = image.std(axis=axes, keepdims=True) / (result.std(axis=axes, keepdims=True) + 1e-8)
    return result * spread + image.mean(axis=axes, keepdims=True)


def apply(image, label, numbers, rng):
    """Augments one sample by the numbers of a draw; rng gives the noise of the displacement."""
    values, indicators = one_hot(label)
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(image.astype(np.float32))),
        label=tio.LabelMap(tensor=torch.from_numpy(indicators)),
    )
    transform = spatial_transform(numbers, label.shape, rng)
    if transform is not None:
        subject = transform(subject)
    if numbers["gamma"] is not None:
        before = subject.image.data.numpy()
        changed = restore_zero(gamma(before, numbers["gamma"]), before)
        subject.image.set_data(torch.from_numpy(changed.astype(np.float32)))
    axes = tuple(axis for axis in range(3) if numbers["mirror"][axis])
    if axes:
        subject = tio.Flip(axes)(subject)
    result = subject.image.data.numpy().astype(image.dtype)
    return result, most_present(values, subject.label.data.numpy()).astype(label.dtype)
{% include "main.py" %}
