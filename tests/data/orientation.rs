//! Turning to RAS and back, for all 48 orientations.

use asng_wgpu::data::nifti::{Header, LabelVolume, Volume};
use asng_wgpu::data::orientation::{Orientation, Turn, labels_to_ras, to_ras};
use proptest::prelude::*;

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// A header whose file axes run along the world axes `order`, against them where
/// a bit of `signs` is set, turned by small angles; sform and qform alike.
fn header(order: [usize; 3], signs: usize, shape: [usize; 3], angles: [f64; 3]) -> Header {
    let spacing = [3.0, 1.5, 0.75];
    let mut header = Header::plain(shape, spacing);
    let sizes = [0.75, 1.5, 3.0];
    let [a, b, c] = angles.map(f64::sin_cos);
    let about_z = [[a.1, -a.0, 0.0], [a.0, a.1, 0.0], [0.0, 0.0, 1.0]];
    let about_y = [[b.1, 0.0, b.0], [0.0, 1.0, 0.0], [-b.0, 0.0, b.1]];
    let about_x = [[1.0, 0.0, 0.0], [0.0, c.1, -c.0], [0.0, c.0, c.1]];
    let times = |m: [[f64; 3]; 3], n: [[f64; 3]; 3]| {
        let mut out = [[0.0; 3]; 3];
        for (r, row) in out.iter_mut().enumerate() {
            for (c, v) in row.iter_mut().enumerate() {
                *v = (0..3).map(|k| m[r][k] * n[k][c]).sum();
            }
        }
        out
    };
    let turn = times(about_z, times(about_y, about_x));
    for (r, row) in header.srow.iter_mut().enumerate() {
        for axis in 0..3 {
            let sign = if signs >> axis & 1 == 1 { -1.0 } else { 1.0 };
            row[axis] = turn[r][order[axis]] * sizes[axis] * sign;
        }
        row[3] = [11.0, -7.0, 5.5][r];
    }
    header.qform_code = 0;
    header
}

fn letters(order: [usize; 3], signs: usize) -> String {
    let names = [["R", "L"], ["A", "P"], ["S", "I"]];
    (0..3).map(|axis| names[order[axis]][signs >> axis & 1]).collect()
}

fn place(rows: &[[f64; 4]; 3], voxel: [usize; 3]) -> [f64; 3] {
    let [z, y, x] = voxel.map(|v| v as f64);
    rows.map(|r| r[0] * x + r[1] * y + r[2] * z + r[3])
}

/// Each voxel's place in the world, in the order of the array.
fn places(rows: &[[f64; 4]; 3], [d, h, w]: [usize; 3]) -> Vec<[f64; 3]> {
    (0..d * h * w).map(|i| place(rows, [i / (h * w), i / w % h, i % w])).collect()
}

fn same_places(a: &[[f64; 3]], b: &[[f64; 3]]) -> bool {
    a.len() == b.len()
        && a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-6)
}

fn volume(header: Header, channels: usize) -> Volume {
    let (shape, spacing_mm) = (header.shape(), header.spacing_mm());
    let data = (0..channels * shape.iter().product::<usize>()).map(|v| v as f32).collect();
    Volume { channels, shape, data, spacing_mm, header }
}

#[test]
fn letters_name_all_48() {
    let mut seen = std::collections::BTreeSet::new();
    for order in ORDERS {
        for signs in 0..8 {
            let name = header(order, signs, [2, 3, 4], [0.1, -0.2, 0.15]).orientation().to_string();
            assert_eq!(name, letters(order, signs));
            seen.insert(name);
        }
    }
    assert_eq!(seen.len(), 48);
    let plain = Header::plain([2, 3, 4], [1.0; 3]);
    assert_eq!(plain.orientation(), Orientation::RAS);
    let (same, turn) = to_ras(volume(plain.clone(), 1));
    assert!(turn.is_identity() && same.header == plain);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of every orientation: the result is RAS, each value keeps its place in
    /// the world by either form, and the way back is exact.
    #[test]
    fn turning_moves_no_voxel(
        shape in [1usize..5, 1usize..5, 1usize..5],
        angles in [-0.3f64..0.3, -0.3f64..0.3, -0.3f64..0.3],
        channels in 1usize..3,
    ) {
        for order in ORDERS {
            for signs in 0..8 {
                let source = volume(header(order, signs, shape, angles), channels);
                let before = source.header.affine();
                let (turned, turn) = to_ras(source.clone());
                prop_assert_eq!(turned.header.orientation(), Orientation::RAS);
                prop_assert_eq!(turned.header.shape(), turned.shape);
                prop_assert_eq!(turned.header.spacing_mm(), turned.spacing_mm);
                prop_assert_eq!(turn.shape_before(), source.shape);
                prop_assert_eq!(turn.shape_after(), turned.shape);
                prop_assert_eq!(&turn.undo(&turned.data), &source.data);
                // The places of the voxels, turned as the values are.
                let want = turn.apply(&places(&before, source.shape));
                prop_assert!(same_places(&places(&turned.header.affine(), turned.shape), &want));
                let labels = LabelVolume {
                    shape: source.shape,
                    labels: (0..shape.iter().product::<usize>() as u16).collect(),
                    spacing_mm: source.spacing_mm,
                    header: source.header.clone(),
                };
                let (turned_labels, same_turn) = labels_to_ras(labels.clone());
                prop_assert_eq!(same_turn, turn);
                prop_assert_eq!(turn.undo(&turned_labels.labels), labels.labels);
                prop_assert_eq!(Turn::to_ras(&turned.header).is_identity(), true);
            }
        }
    }

    /// A header that has only a quaternion keeps every voxel's place.
    #[test]
    fn the_qform_turns_along(
        quatern in [-0.55f64..0.55, -0.55f64..0.55, -0.55f64..0.55],
        qfac in prop::sample::select(vec![1.0, -1.0]),
        shape in [1usize..5, 1usize..5, 1usize..5],
    ) {
        let mut header = Header::plain(shape, [3.0, 1.5, 0.75]);
        header.sform_code = 0;
        header.quatern = quatern;
        header.pixdim[0] = qfac;
        header.qoffset = [11.0, -7.0, 5.5];
        let turn = Turn::to_ras(&header);
        let turned = turn.header(&header);
        prop_assert_eq!(turned.orientation(), Orientation::RAS);
        let want = turn.apply(&places(&header.affine(), shape));
        prop_assert!(same_places(&places(&turned.affine(), turn.shape_after()), &want));
    }
}
