"""Data augmentation for {{ library }}, as searched by asng-wgpu {{ program }}.

{{ origin }}

    image, label = augment(image, label, rng=0)

image: float array (C, D, H, W), normalised; label: integer array (D, H, W). D, H and W are the
file's z, y and x; magnitudes in voxels refer to the spacing of the training. What lies outside
the volume becomes 0, so give a patch larger than you need and cut it afterwards, or the whole
case, where the border should not show. Run as a script, this file augments a random volume.

Written for {{ versions }}.
"""
