"""Data augmentation for batchgeneratorsv2, as searched by asng-wgpu VERSION.

Draws a policy a sample from the distribution that the search left: run 'demo-1',
data set 'demo', seed 7.

    image, label = augment(image, label, rng=0)

image: float array (C, D, H, W), normalised; label: integer array (D, H, W). D, H, W are the axes
z, y, x of the file. Magnitudes in voxels refer to the spacing
of the training. What lies outside the volume becomes 0: give the whole case, or a patch larger
than you need and cut it afterwards, where the border should not show. Run as a script, this file
augments a random volume.

Written for batchgeneratorsv2 0.3.6 and torch 2.15.
"""

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from scipy.ndimage import gaussian_filter

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
        mode_image="bilinear",
        padding_mode_image="zeros",
        # Each label's indicator is interpolated, the largest wins.
        mode_seg="bilinear",
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


if __name__ == "__main__":
    rng = np.random.default_rng()
    image = rng.normal(size=(1, 24, 32, 28)).astype(np.float32)
    label = (image[0] > 1).astype(np.uint8)
    numbers = draw(sample_policy(rng), len(image), rng)
    print(numbers)
    image, label = apply(image, label, numbers, rng)
    print(image.shape, image.dtype, image.mean(), label.shape, label.dtype, label.mean())
