//! From a draw to the numbers that the shaders read.

use super::draw::Draw;
use crate::error::Result;
use crate::ops::warp::{Placement, WarpRecord};

/// Ratio of the slice distance to the finest spacing above which slices stay slices.
const ANISOTROPY: f64 = 3.0;

/// Whether data of this voxel size (D, H, W in mm) is so anisotropic that slices stay slices:
/// nnU-Net's "dummy 2D" augmentation, rotation, scaling and displacement within H and W alone.
pub fn is_dummy_2d([d, h, w]: [f64; 3]) -> bool {
    d > ANISOTROPY * h.min(w)
}

/// The record of a draw for a patch: what is uploaded. `dummy_2d`: strongly anisotropic data,
/// where slices stay slices; `mask`: voxels that are 0 in all channels stay so after gamma.
///
/// # Errors
/// [`crate::Error::Usage`] for more channels than the kernels take, or a sigma too large for them.
pub fn record(draw: &Draw, at: &Placement, dummy_2d: bool, mask: bool) -> Result<WarpRecord> {
    let mut record = WarpRecord::copy(at).mirror(draw.mirror);
    if draw.is_warp() {
        record = record.affine(draw.affine(dummy_2d));
    }
    if let Some(elastic) = &draw.elastic {
        record = record.elastic(elastic.alpha, elastic.sigma, elastic.key, dummy_2d)?;
    }
    if let Some(exponents) = &draw.gamma {
        record = record.gamma(exponents, mask)?;
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::draw::Elastic;
    use crate::ops::warp::flags;

    const AT: Placement = Placement {
        case_shape: [20, 30, 40],
        box_start: [0; 3],
        box_shape: [20, 30, 40],
        patch_start: [2, -3, 4],
        patch: [8, 12, 16],
    };

    #[test]
    fn an_empty_draw_copies() {
        let made = record(&Draw::default(), &AT, false, true).unwrap();
        assert_eq!(made, WarpRecord::copy(&AT));
        let mirrored = Draw { mirror: [true, false, true], ..Draw::default() };
        let made = record(&mirrored, &AT, false, false).unwrap();
        assert_eq!(made.flags, flags::MIRROR | flags::MIRROR << 2);
    }

    #[test]
    fn every_part_arrives() {
        let draw = Draw {
            elastic: Some(Elastic { alpha: 300.0, sigma: 10.0, key: 0x0123_4567_89AB_CDEF }),
            rotation: Some([10.0, 20.0, 30.0]),
            scale: Some(1.1),
            gamma: Some(vec![0.8, 1.2]),
            mirror: [false, true, false],
        };
        let made = record(&draw, &AT, false, true).unwrap();
        let all = flags::SPATIAL | flags::ELASTIC | flags::GAMMA | flags::MASK;
        assert_eq!(made.flags, all | flags::MIRROR << 1);
        assert_eq!((made.key_low, made.key_high), (0x89AB_CDEF, 0x0123_4567));
        assert_eq!(made.row1, draw.affine(false)[1].map(|v| v as f32));
        assert_eq!(made.gamma[..3], [0.8, 1.2, 1.0]);
        let flat = record(&draw, &AT, true, false).unwrap();
        assert!(flat.has(flags::PLANAR) && !flat.has(flags::MASK));
        assert_eq!((flat.row0, flat.radius[0]), ([1.0, 0.0, 0.0], 0));
        // Elastic alone turns nothing.
        let only = Draw { elastic: draw.elastic, ..Draw::default() };
        let made = record(&only, &AT, false, false).unwrap();
        assert_eq!(made.row2, [0.0, 0.0, 1.0]);
        let wide = Draw { gamma: Some(vec![1.0; 9]), ..Draw::default() };
        let why = record(&wide, &AT, false, false).unwrap_err().to_string();
        assert!(why.contains("channels"), "{why}");
    }
}
