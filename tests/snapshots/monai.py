"""Data augmentation for monai, as searched by asng-wgpu VERSION.

Draws a policy a sample from the distribution that the search left: run 'demo-1',
data set 'demo', seed 7.

    image, label = augment(image, label, rng=0)

image: float array (C, D, H, W), normalised; label: integer array (D, H, W). D, H, W are the axes
z, y, x of the file. Magnitudes in voxels refer to the spacing
of the training. What lies outside the volume becomes 0: give the whole case, or a patch larger
than you need and cut it afterwards, where the border should not show. Run as a script, this file
augments a random volume.

Written for monai 1.6.1 and torch 2.15.
"""

import numpy as np
import torch
from monai.transforms import AdjustContrast, Affined, Flipd, Rand3DElasticd
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


def spatial_transform(numbers, rng):
    """The library's transform with the numbers of one draw; None if there is nothing to do."""
    # Not expressed: up to half a voxel outside the volume the library blends with 0 where the
    # training takes 0.
    # Of labels, each one's indicator is interpolated.
    modes = ["bilinear", "bilinear"]
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


if __name__ == "__main__":
    rng = np.random.default_rng()
    image = rng.normal(size=(1, 24, 32, 28)).astype(np.float32)
    label = (image[0] > 1).astype(np.uint8)
    numbers = draw(sample_policy(rng), len(image), rng)
    print(numbers)
    image, label = apply(image, label, numbers, rng)
    print(image.shape, image.dtype, image.mean(), label.shape, label.dtype, label.mean())
