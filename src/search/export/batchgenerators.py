{% include "head.py" %}

import numpy as np
from batchgenerators.transforms.color_transforms import GammaTransform
from batchgenerators.transforms.spatial_transforms import MirrorTransform, SpatialTransform

{% include "sampling.py" %}


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
        order_data={{ 3 if cubic else 1 }},
{%- if not nearest %}
        # Order 1: each label's indicator is interpolated, the largest wins.
{%- endif %}
        border_mode_seg="constant",
        border_cval_seg=0,
        order_seg={{ 0 if nearest else 1 }},
    )
    gamma = GammaTransform(
        interval("gamma"),
        invert_image=False,
        per_channel=True,
        retain_stats=True,
        p_per_sample=float(on["gamma"]),
    )
{%- if sided %}
    # Not expressed: this policy may draw scales or exponents uniformly over an interval that
    # begins below 1; the library always takes U(low, 1) and U(1, high) with equal chances.
{%- endif %}
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
