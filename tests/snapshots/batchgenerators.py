"""Data augmentation for batchgenerators, as searched by asng-wgpu VERSION.

Draws a policy a sample from the distribution that the search left: run 'demo-1',
data set 'demo', seed 7.

    image, label = augment(image, label, rng=0)

image: float array (C, D, H, W), normalised; label: integer array (D, H, W). D, H, W are the axes
z, y, x of the file. Magnitudes in voxels refer to the spacing
of the training. What lies outside the volume becomes 0: give the whole case, or a patch larger
than you need and cut it afterwards, where the border should not show. Run as a script, this file
augments a random volume.

Written for batchgenerators 0.25.5.
"""

import numpy as np
from batchgenerators.transforms.color_transforms import GammaTransform
from batchgenerators.transforms.spatial_transforms import MirrorTransform, SpatialTransform

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


def transforms(policy, on, shape):
    """The spatial and the gamma transform of one policy, for patches of `shape`.

    on: the probability of each transform by name, or whether it is applied.
    """

    def interval(name, unit=1.0):
        return policy[f"{name}_low"] * unit, policy[f"{name}_high"] * unit

    degrees = np.pi / 180
    spatial = SpatialTransform(
        shape,
        random_crop=False,
        # The conventions are the same: alpha and sigma in voxels, noise of U(-1, 1), angle x in
        # the plane of H and W, a scale above 1 shrinks the content, and the library, too, draws
        # scales below and above 1 with equal chances.
        alpha=interval("elastic_alpha"),
        sigma=interval("elastic_sigma"),
        angle_x=interval("rotation_x", degrees),
        angle_y=interval("rotation_y", degrees),
        angle_z=interval("rotation_z", degrees),
        scale=interval("scale"),
        p_el_per_sample=float(on["elastic"]),
        p_rot_per_sample=float(on["rotation"]),
        p_scale_per_sample=float(on["scale"]),
        border_mode_data="constant",
        border_cval_data=0,
        order_data=1,
        # Order 1: each label's indicator is interpolated, the largest wins.
        border_mode_seg="constant",
        border_cval_seg=0,
        order_seg=1,
    )
    gamma = GammaTransform(
        interval("gamma"),
        invert_image=False,
        per_channel=True,
        retain_stats=True,
        p_per_sample=float(on["gamma"]),
    )
    return spatial, gamma


def augment(image, label, rng=None):
    """Augments one sample by a policy drawn for it.

    image: float array (C, D, H, W), normalised; label: integer array (D, H, W). rng: a seed or a
    numpy Generator. Gives new arrays of the same shapes and types.
    """
    rng = np.random.default_rng(rng)
    return apply(image, label, sample_policy(rng), rng)


def apply(image, label, policy, rng):
    """Augments one sample by a policy; the library draws the numbers."""
    spatial, gamma = transforms(policy, switches(policy, rng), label.shape)
    # The library draws from numpy's global generator: seeded here and put back afterwards.
    state = np.random.get_state()
    np.random.seed(rng.integers(2**32))
    try:
        batch = {"data": image[None].astype(np.float32)}
        batch["seg"] = label[None, None].astype(np.float32)
        batch = spatial(**batch)
        zero = (batch["data"] == 0).all(axis=1, keepdims=True)
        batch = gamma(**batch)
        if KEEP_ZERO:
            batch["data"] = np.where(zero, 0, batch["data"])
        if any(MIRROR):
            axes = tuple(axis for axis in range(3) if MIRROR[axis])
            batch = MirrorTransform(axes)(**batch)
    finally:
        np.random.set_state(state)
    return batch["data"][0].astype(image.dtype), batch["seg"][0, 0].astype(label.dtype)


if __name__ == "__main__":
    rng = np.random.default_rng()
    image = rng.normal(size=(1, 24, 32, 28)).astype(np.float32)
    label = (image[0] > 1).astype(np.uint8)
    policy = sample_policy(rng)
    print(policy)
    image, label = apply(image, label, policy, rng)
    print(image.shape, image.dtype, image.mean(), label.shape, label.dtype, label.mean())
