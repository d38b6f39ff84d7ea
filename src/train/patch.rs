//! Un-augmented patches: the part of a source box that a patch covers, 0 outside the case.

use crate::data::prefetch::Sample;

/// Appends the sample's patch to the batch: image C,D,H,W and labels D,H,W.
pub(super) fn append(
    sample: &Sample,
    channels: usize,
    patch: [usize; 3],
    image: &mut Vec<f32>,
    labels: &mut Vec<u32>,
) {
    let source = &sample.source;
    let [sd, sh, sw] = source.shape;
    let offset: [i64; 3] =
        std::array::from_fn(|axis| sample.location.start[axis] - source.start[axis]);
    let inside = |position: i64, edge: usize| (0..edge as i64).contains(&position);
    for channel in 0..=channels {
        for d in 0..patch[0] as i64 {
            for h in 0..patch[1] as i64 {
                for w in 0..patch[2] as i64 {
                    let (z, y, x) = (d + offset[0], h + offset[1], w + offset[2]);
                    let found = inside(z, sd) && inside(y, sh) && inside(x, sw);
                    let index = || (z as usize * sh + y as usize) * sw + x as usize;
                    if channel < channels {
                        let at = || source.image[channel * sd * sh * sw + index()];
                        image.push(if found { at() } else { 0.0 });
                    } else {
                        labels.push(if found { u32::from(source.labels[index()]) } else { 0 });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::prefetch::SourceBox;
    use crate::data::sampler::PatchLocation;

    #[test]
    fn voxels_outside_the_case_are_zero() {
        let source = SourceBox {
            start: [0; 3],
            shape: [1, 2, 2],
            image: vec![1.0, 2.0, 3.0, 4.0],
            labels: vec![1, 0, 0, 2],
            whole: true,
        };
        let location = PatchLocation { case: 0, start: [0, -1, 1] };
        let (mut image, mut labels) = (Vec::new(), Vec::new());
        append(&Sample { location, source }, 1, [1, 3, 2], &mut image, &mut labels);
        assert_eq!(image, vec![0.0, 0.0, 2.0, 0.0, 4.0, 0.0]);
        assert_eq!(labels, vec![0, 0, 0, 0, 2, 0]);
    }
}
