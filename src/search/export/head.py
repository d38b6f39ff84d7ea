"""Data augmentation for {{ library }}, as searched by asng-wgpu {{ program }}.

{{ origin }}

    image, label = augment(image, label, rng=0)

image: float array (C, D, H, W), normalised; label: integer array (D, H, W). D, H, W are the axes
{{ axes }} of the file{{ ", turned to RAS before" if reorient }}. Magnitudes in voxels refer to the spacing
of the training. What lies outside the volume becomes 0: give the whole case, or a patch larger
than you need and cut it afterwards, where the border should not show. Run as a script, this file
augments a random volume.

Written for {{ versions }}.
"""
