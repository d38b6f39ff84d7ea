//! The comparer itself, fed with what is wrong.

mod common;

use common::{close, close_shaped};

#[test]
fn what_is_wrong_is_rejected() {
    for (what, a, b, tol) in [
        ("too short", &[1.0][..], &[1.0, 2.0][..], 1.0),
        ("too long", &[1.0, 2.0], &[1.0], 1.0),
        ("empty", &[], &[1.0], 1.0),
        ("nan", &[f32::NAN, 1.0], &[1.0, 1.0], 1.0),
        ("infinite", &[f32::INFINITY], &[1.0], 1.0),
        ("both nan", &[f32::NAN], &[f32::NAN], 1.0),
        ("both infinite", &[f32::INFINITY], &[f32::INFINITY], 1.0),
        ("a reference that is nan", &[1.0], &[f32::NAN], 1.0),
        ("one of many", &[1.0, 2.1, 3.0], &[1.0, 2.0, 3.0], 0.03),
        ("the sign", &[-3.0], &[3.0], 1.0),
        ("a zero reference", &[1e-5, 0.0], &[0.0, 0.0], 1.0),
        ("a tolerance that is nan", &[1.0], &[2.0], f64::NAN),
    ] {
        assert!(close(what, a, b, tol).is_err(), "{what}");
    }
}

#[test]
fn what_is_right_passes() {
    assert_eq!(close("within", &[1.0, 2.05, 3.0], &[1.0, 2.0, 3.0], 0.03), Ok(()));
    assert_eq!(close("exact", &[1.0, -2.0], &[1.0, -2.0], 0.0), Ok(()));
    assert_eq!(close("nearly zero", &[5e-7], &[0.0], 0.0), Ok(()));
    assert_eq!(close("nothing", &[], &[], 0.0), Ok(()));
}

#[test]
fn the_worst_voxel_is_named_with_both_values() {
    let shape = [2, 3, 4, 5, 6];
    let reference = vec![1.0; 2 * 3 * 4 * 5 * 6];
    let mut values = reference.clone();
    let at = |[n, c, d, h, w]: [usize; 5]| (((n * 3 + c) * 4 + d) * 5 + h) * 6 + w;
    values[at([0, 2, 1, 4, 3])] = 1.5;
    values[at([1, 0, 3, 2, 5])] = 4.25;
    let text = close_shaped("dx", &values, &reference, 1e-3, &shape).unwrap_err();
    for part in ["dx[n 1, c 0, d 3, h 2, w 5]", "4.25 instead of 1", "2 of 720"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    values[at([0, 0, 0, 0, 1])] = f32::NAN;
    let text = close_shaped("dx", &values, &reference, 1e-3, &shape).unwrap_err();
    assert!(text.contains("dx[n 0, c 0, d 0, h 0, w 1] is NaN"), "{text}");
    // A volume has no samples and channels; a shape that does not fit names the element.
    let volume = close_shaped("y", &[0.0, 2.0], &[0.0, 1.0], 0.1, &[1, 1, 2]).unwrap_err();
    assert!(volume.contains("y[d 0, h 0, w 1]"), "{volume}");
    let flat = close_shaped("y", &[0.0, 2.0], &[0.0, 1.0], 0.1, &[7, 7]).unwrap_err();
    assert!(flat.contains("y[1] is 2 instead of 1"), "{flat}");
}
