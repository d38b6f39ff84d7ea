"""Data augmentation for torchio, as searched by asng-wgpu VERSION.

Draws a policy a sample from the distribution that the search left: run 'demo-1',
data set 'demo', seed 7.

    image, label = augment(image, label, rng=0)

image: float array (C, D, H, W), normalised; label: integer array (D, H, W). D, H, W are the axes
z, y, x of the file. Magnitudes in voxels refer to the spacing
of the training. What lies outside the volume becomes 0: give the whole case, or a patch larger
than you need and cut it afterwards, where the border should not show. Run as a script, this file
augments a random volume.

Written for torchio 1.2.1 and torch 2.15.
"""

import numpy as np
import torch
import torchio as tio
from scipy.spatial.transform import Rotation

# Values of each searched number and the probability of each value.
VARIABLES = {
    "scale_low": (
        [0.5, 0.75, 1.0],
        [0.5, 0.25, 0.25],
    ),
    "rotation_x_high": (
        [0.0, 10.0, 20.0, 30.0],
        [0.125, 0.125, 0.25, 0.5],
    ),
    "p_rotation": (
        [0.0],
        [1.0],
    ),
}

# The numbers that are the same in every policy.
FIXED = {
    "elastic_alpha_low": 0.0,
    "elastic_alpha_high": 900.0,
    "elastic_sigma_low": 9.0,
    "elastic_sigma_high": 13.0,
    "scale_high": 1.25,
    "rotation_x_low": -15.0,
    "rotation_y_low": -15.0,
    "rotation_y_high": 15.0,
    "rotation_z_low": -15.0,
    "rotation_z_high": 15.0,
    "gamma_low": 0.7,
    "gamma_high": 1.5,
    "p_elastic": 0.2,
    "p_scale": 0.2,
    "p_gamma": 0.3,
}

# True: exactly one transform a sample, in proportion to the probabilities (TrivialAugment).
ONE_OF = False

# Whether each axis is mirrored with probability 0.5.
MIRROR = (True, True, True)

# Whether voxels that are 0 in all channels (outside the mask of the normalisation) are set back
# to 0 after gamma.
KEEP_ZERO = False


def sample_policy(rng):
    """Draws a policy: a number for each left bound, right bound and probability."""
    policy = dict(FIXED)
    for name, (values, probabilities) in VARIABLES.items():
        policy[name] = values[rng.choice(len(values), p=probabilities)]
    return policy


def switches(policy, rng):
    """Which transforms a sample gets, by name."""
    names = ["elastic", "rotation", "scale", "gamma"]
    probabilities = np.array([policy[f"p_{name}"] for name in names])
    if ONE_OF:
        chosen = rng.choice(names, p=probabilities / probabilities.sum())
        return {name: name == chosen for name in names}
    return {name: bool(rng.random() < p) for name, p in zip(names, probabilities)}


def draw(policy, channels, rng):
    """Draws one sample's numbers from a policy; None for a transform that is not applied."""

    def within(name):
        return float(rng.uniform(policy[f"{name}_low"], policy[f"{name}_high"]))

    def around_one(name):
        # Below or above 1 with equal chances, except where the whole range counts as one.
        low, high = policy[f"{name}_low"], policy[f"{name}_high"]
        if ONE_OF or low >= 1 or high < 1:
            return float(rng.uniform(low, high))
        return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))

    on = switches(policy, rng)
    numbers = {
        "elastic": {"alpha": within("elastic_alpha"), "sigma": within("elastic_sigma")},
        "rotation": [within(f"rotation_{axis}") for axis in "xyz"],
        "scale": around_one("scale"),
        "gamma": [around_one("gamma") for _ in range(channels)],
    }
    numbers = {name: value if on[name] else None for name, value in numbers.items()}
    numbers["mirror"] = [bool(rng.random() < 0.5 and allowed) for allowed in MIRROR]
    return numbers


def augment(image, label, rng=None):
    """Augments one sample by a policy drawn for it.

    image: float array (C, D, H, W), normalised; label: integer array (D, H, W). rng: a seed or a
    numpy Generator. Gives new arrays of the same shapes and types.
    """
    rng = np.random.default_rng(rng)
    numbers = draw(sample_policy(rng), len(image), rng)
    return apply(image, label, numbers, rng)


def grid_rotation(numbers):
    """The rotation of the sampling grid, for column vectors about the middle.

    Angle x turns in the plane of H and W, y of D and W, z of D and H; x acts first. The angles
    are those of the sampling grid, so the content turns the other way.
    """
    x, y, z = numbers["rotation"] or (0.0, 0.0, 0.0)
    return Rotation.from_euler("ZYX", [-z, -y, -x], degrees=True)


def one_hot(label):
    """The labels that occur, 0 first, and an indicator (K - 1, D, H, W) of each but 0."""
    values = np.union1d(label, [0])
    indicators = [label == value for value in values[1:]] or [np.zeros(label.shape)]
    return values, np.stack(indicators).astype(np.float32)


def most_present(values, indicators):
    """The label of the largest interpolated indicator; 0 is what the others leave."""
    rest = 1 - indicators.sum(axis=0, keepdims=True)
    return values[np.concatenate([rest, indicators])[: len(values)].argmax(axis=0)]


def restore_zero(result, image):
    """Sets voxels that were 0 in all channels before gamma back to 0."""
    if KEEP_ZERO:
        result[:, (image == 0).all(axis=0)] = 0
    return result


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
        "image_interpolation": "linear",
        # Each label's indicator is interpolated, the largest wins.
        "label_interpolation": "linear",
    }
    if numbers["elastic"] is None:
        return tio.Affine(**affine)
    points = control_points(numbers["elastic"], shape, rng)
    elastic = {
        "control_points": points,
        "max_displacement": (float(np.abs(points).max()),) * 3,
        "image_interpolation": "linear",
        "label_interpolation": "linear",
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


if __name__ == "__main__":
    rng = np.random.default_rng()
    image = rng.normal(size=(1, 24, 32, 28)).astype(np.float32)
    label = (image[0] > 1).astype(np.uint8)
    numbers = draw(sample_policy(rng), len(image), rng)
    print(numbers)
    image, label = apply(image, label, numbers, rng)
    print(image.shape, image.dtype, image.mean(), label.shape, label.dtype, label.mean())
