//! The varieties of NIfTI that turn up: versions, byte orders, types, forms,
//! pairs, extensions and damage, from bytes built here.

use crate::common::{gzip, sentence};
use asng_wgpu::data::nifti::{Form, GeometryWarning, read_header, read_image, read_labels};
use proptest::prelude::*;
use std::path::PathBuf;

/// A file to be; either version, either byte order.
#[derive(Clone)]
struct Made {
    v2: bool,
    big: bool,
    pair: bool,
    dim: Vec<i64>,
    code: i16,
    pixdim: [f64; 4],
    scaling: (f64, f64),
    /// Code, then b, c, d and the offset.
    qform: (i16, [f64; 6]),
    sform: (i16, [f64; 12]),
    extension: Vec<u8>,
    values: Vec<u8>,
}

/// Sform of 0.5 x 0.75 x 2 mm.
const SFORM: [f64; 12] = [0.5, 0.0, 0.0, 10.0, 0.0, 0.75, 0.0, -4.0, 0.0, 0.0, 2.0, 7.5];

fn made() -> Made {
    Made {
        v2: false,
        big: false,
        pair: false,
        dim: vec![3, 2, 3, 2],
        code: 2,
        pixdim: [1.0, 0.5, 0.75, 2.0],
        scaling: (0.0, 0.0),
        qform: (0, [0.0; 6]),
        sform: (2, SFORM),
        extension: vec![],
        values: (0..12).collect(),
    }
}

impl Made {
    fn header(&self) -> Vec<u8> {
        let mut b = vec![0u8; if self.v2 { 540 } else { 348 }];
        let mut put = |at: usize, mut v: Vec<u8>| {
            if self.big {
                v.reverse();
            }
            b[at..at + v.len()].copy_from_slice(&v);
        };
        let real = |v: f64| {
            if self.v2 { v.to_le_bytes().to_vec() } else { (v as f32).to_le_bytes().to_vec() }
        };
        put(0, (if self.v2 { 540i32 } else { 348 }).to_le_bytes().to_vec());
        for (i, &d) in self.dim.iter().enumerate() {
            match self.v2 {
                true => put(16 + 8 * i, d.to_le_bytes().to_vec()),
                false => put(40 + 2 * i, (d as i16).to_le_bytes().to_vec()),
            }
        }
        put(if self.v2 { 12 } else { 70 }, self.code.to_le_bytes().to_vec());
        for (i, &v) in self.pixdim.iter().enumerate() {
            put(if self.v2 { 104 + 8 * i } else { 76 + 4 * i }, real(v));
        }
        let offset = if self.pair { 0 } else { b_len(self.v2) + 4 + self.extension.len() };
        match self.v2 {
            true => put(168, (offset as i64).to_le_bytes().to_vec()),
            false => put(108, (offset as f32).to_le_bytes().to_vec()),
        }
        put(if self.v2 { 176 } else { 112 }, real(self.scaling.0));
        put(if self.v2 { 184 } else { 116 }, real(self.scaling.1));
        for (i, code) in [self.qform.0, self.sform.0].into_iter().enumerate() {
            match self.v2 {
                true => put(344 + 4 * i, i32::from(code).to_le_bytes().to_vec()),
                false => put(252 + 2 * i, code.to_le_bytes().to_vec()),
            }
        }
        for (i, &v) in self.qform.1.iter().chain(&self.sform.1).enumerate() {
            put(if self.v2 { 352 + 8 * i } else { 256 + 4 * i }, real(v));
        }
        match self.v2 {
            true => put(500, 2i32.to_le_bytes().to_vec()),
            false => b[123] = 2,
        }
        let magic: &[u8] = match (self.v2, self.pair) {
            (true, true) => b"ni2\0\r\n\x1a\n",
            (true, false) => b"n+2\0\r\n\x1a\n",
            (false, true) => b"ni1\0",
            (false, false) => b"n+1\0",
        };
        let at = if self.v2 { 4 } else { 344 };
        b[at..at + magic.len()].copy_from_slice(magic);
        b
    }

    fn bytes(&self) -> Vec<u8> {
        let flag = [u8::from(!self.extension.is_empty()), 0, 0, 0];
        [&self.header()[..], &flag, &self.extension, &self.values].concat()
    }

    /// Writes it to a file `a.nii` of its own folder.
    fn file(&self) -> (tempfile::TempDir, PathBuf) {
        saved("a.nii", &self.bytes())
    }
}

fn b_len(v2: bool) -> usize {
    if v2 { 540 } else { 348 }
}

fn saved(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// `values` in the type of a code.
fn encoded(code: i16, big: bool, values: &[f64]) -> Vec<u8> {
    let one = |v: f64| {
        let mut b = match code {
            2 => vec![v as u8],
            256 => vec![v as i8 as u8],
            4 => (v as i16).to_le_bytes().to_vec(),
            512 => (v as u16).to_le_bytes().to_vec(),
            8 => (v as i32).to_le_bytes().to_vec(),
            768 => (v as u32).to_le_bytes().to_vec(),
            1024 => (v as i64).to_le_bytes().to_vec(),
            1280 => (v as u64).to_le_bytes().to_vec(),
            16 => (v as f32).to_le_bytes().to_vec(),
            _ => v.to_le_bytes().to_vec(),
        };
        if big {
            b.reverse();
        }
        b
    };
    values.iter().flat_map(|&v| one(v)).collect()
}

#[test]
fn every_type_version_and_order_with_its_extremes() {
    let types: [(i16, f64, f64); 10] = [
        (2, 0.0, 255.0),
        (256, -128.0, 127.0),
        (4, -32768.0, 32767.0),
        (512, 0.0, 65535.0),
        (8, -2147483648.0, 2147483647.0),
        (768, 0.0, 4294967295.0),
        (1024, -9e18, 9e18),
        (1280, 0.0, 1.8e19),
        (16, -1.5e30, 2.5e-30),
        (64, -1.5e30, 2.5e-30),
    ];
    for (code, low, high) in types {
        for i in 0..4 {
            let (v2, big) = (i % 2 == 1, i > 1);
            let want: Vec<f64> = (0..12).map(|i| [low, high, 1.0][i % 3]).collect();
            let values = encoded(code, big, &want);
            let (_dir, path) = Made { v2, big, code, values, ..made() }.file();
            let v = read_image(&path).unwrap();
            assert_eq!(v.shape, [2, 3, 2]);
            assert_eq!(v.spacing_mm, [2.0, 0.75, 0.5]);
            assert_eq!(v.data, want.iter().map(|&v| v as f32).collect::<Vec<_>>(), "type {code}");
            assert_eq!(v.header.affine()[1], [0.0, 0.75, 0.0, -4.0]);
            let values = encoded(code, big, &(0..12).map(f64::from).collect::<Vec<_>>());
            let (_dir, path) = Made { v2, big, code, values, ..made() }.file();
            assert_eq!(read_labels(&path).unwrap().labels, (0..12).collect::<Vec<u16>>());
        }
    }
}

#[test]
fn other_types_are_refused_by_name() {
    for (code, word) in
        [(0, "not set"), (1, "bits"), (32, "complex"), (128, "RGB"), (1536, "128-bit"), (99, "unk")]
    {
        for v2 in [false, true] {
            let (_dir, path) = Made { v2, code, ..made() }.file();
            let e = sentence(read_image(&path), &path);
            assert!(e.contains(word) && e.contains(&code.to_string()), "{e}");
        }
    }
}

#[test]
fn scaling_is_neutral_where_it_is_no_number() {
    for (scaling, want) in [
        ((0.0, 5.0), 7.0),
        ((f64::NAN, 5.0), 7.0),
        ((f64::INFINITY, 5.0), 7.0),
        ((2.0, f64::NAN), 14.0),
        ((1.0, -7.0), 0.0),
        ((-0.5, 1.0), -2.5),
    ] {
        for v2 in [false, true] {
            let (_dir, path) = Made { v2, scaling, ..made() }.file();
            assert_eq!(read_image(&path).unwrap().data[7], want, "{scaling:?}");
        }
    }
    // Labels of a scaled file are the scaled values.
    let (_dir, path) = Made { scaling: (0.1, 0.0), values: vec![10; 12], ..made() }.file();
    assert_eq!(read_labels(&path).unwrap().labels, [1; 12]);
}

#[test]
fn dimensions_may_trail() {
    for (dim, channels) in [
        (vec![3, 2, 3, 2, 9, 9], 1),
        (vec![4, 2, 3, 2, 1], 1),
        (vec![4, 2, 3, 2, 0], 1),
        (vec![5, 2, 3, 2, 1, 1], 1),
        (vec![7, 2, 3, 2, 1, 1, 1, 1], 1),
        (vec![4, 2, 3, 1, 2], 2),
        (vec![5, 2, 3, 1, 1, 2], 2),
        (vec![5, 1, 3, 1, 2, 2], 4),
        (vec![2, 4, 3], 1),
        (vec![1, 12], 1),
    ] {
        for v2 in [false, true] {
            let (_dir, path) = Made { v2, dim: dim.clone(), ..made() }.file();
            let v = read_image(&path).unwrap();
            assert_eq!(v.channels, channels, "{dim:?}");
            assert_eq!(v.data, (0..12).map(|v| v as f32).collect::<Vec<_>>());
            assert_eq!(v.shape.iter().product::<usize>() * channels, 12);
            assert_eq!(read_labels(&path).is_ok(), channels == 1);
        }
    }
    let (_dir, path) = Made { v2: true, dim: vec![3, 1 << 40, 1 << 40, 1 << 40], ..made() }.file();
    assert!(sentence(read_image(&path), &path).contains("claims"));
}

#[test]
fn extensions_are_passed_over() {
    for v2 in [false, true] {
        let mut extension = vec![0u8; 32];
        extension[0] = 32;
        extension[4] = 6;
        let whole = Made { v2, extension, ..made() };
        let (_dir, path) = whole.file();
        assert_eq!(read_image(&path).unwrap().data[11], 11.0);
        // Voxels that begin within the header cannot be meant.
        let mut bytes = whole.bytes();
        bytes[if v2 { 168..176 } else { 108..112 }].fill(0);
        let (_dir, path) = saved("a.nii", &bytes);
        assert_eq!(read_image(&path).unwrap().data[0], 32.0);
    }
}

#[test]
fn gzip_may_have_members_and_padding() {
    let bytes = made().bytes();
    let (a, b) = bytes.split_at(200);
    let two = [gzip(a), gzip(b)].concat();
    let nothing_between = [gzip(a), gzip(&[]), gzip(b)].concat();
    for (name, packed) in [
        ("members", two.clone()),
        ("an empty member", nothing_between),
        ("one zero", [gzip(&bytes), vec![0]].concat()),
        ("zeros", [gzip(&bytes), vec![0; 512]].concat()),
        ("a line", [two, b"end of file\n".to_vec()].concat()),
        ("more data", gzip(&[&bytes[..], &[9; 100]].concat())),
    ] {
        // Compressed data is known by its first bytes, whatever its name.
        for file in ["a.nii.gz", "a.nii"] {
            let (_dir, path) = saved(file, &packed);
            let v = read_image(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(v.data[11], 11.0, "{name}");
        }
    }
    let (_dir, path) = saved("a.nii", &[&bytes[..], &[9; 100]].concat());
    assert_eq!(read_image(&path).unwrap().data.len(), 12);
}

#[test]
fn every_truncation_is_noticed() {
    for v2 in [false, true] {
        let bytes = Made { v2, extension: vec![16; 16], ..made() }.bytes();
        let packed = gzip(&bytes);
        for (name, whole) in [("a.nii", &bytes), ("a.nii.gz", &packed)] {
            let (_dir, path) = saved(name, whole);
            read_image(&path).unwrap();
            for cut in 0..whole.len() {
                std::fs::write(&path, &whole[..cut]).unwrap();
                sentence(read_image(&path), &path);
            }
        }
    }
}

#[test]
fn pairs_in_every_combination() {
    for v2 in [false, true] {
        let pair = Made { v2, pair: true, ..made() };
        let (header, values) = (pair.header(), pair.values.clone());
        for (hdr, img) in [
            ("a.hdr", "a.img"),
            ("a.hdr.gz", "a.img.gz"),
            ("a.hdr", "a.img.gz"),
            ("a.hdr.gz", "a.img"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for (name, bytes) in [(hdr, &header), (img, &values)] {
                let bytes = if name.ends_with(".gz") { gzip(bytes) } else { bytes.clone() };
                std::fs::write(dir.path().join(name), bytes).unwrap();
            }
            for name in [hdr, img] {
                let v = read_image(&dir.path().join(name)).unwrap();
                assert_eq!(v.data, (0..12).map(|v| v as f32).collect::<Vec<_>>());
            }
            std::fs::remove_file(dir.path().join(img)).unwrap();
            let e = read_image(&dir.path().join(hdr)).unwrap_err().to_string();
            assert!(e.contains(".img"), "{e}");
        }
        // Half of a pair under the name of a whole, and a whole under the name of a half.
        let (_dir, path) = saved("a.nii", &[header, values].concat());
        assert!(sentence(read_image(&path), &path).contains("pair"));
        let (_dir, path) = saved("a.hdr", &Made { v2, ..made() }.bytes());
        assert_eq!(read_image(&path).unwrap().data[11], 11.0);
    }
}

/// A quarter turn about z and the offset (1, 2, 3).
const QUARTER: [f64; 6] = [0.0, 0.0, std::f64::consts::FRAC_1_SQRT_2, 1.0, 2.0, 3.0];

fn near(a: [[f64; 4]; 3], b: [[f64; 4]; 3]) {
    assert!(a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?}");
}

#[test]
fn the_forms_have_their_order() {
    let turned = [[0.0, -0.75, 0.0, 1.0], [0.5, 0.0, 0.0, 2.0], [0.0, 0.0, 2.0, 3.0]];
    let sform = [[0.5, 0.0, 0.0, 10.0], [0.0, 0.75, 0.0, -4.0], [0.0, 0.0, 2.0, 7.5]];
    let sizes = [[0.5, 0.0, 0.0, 0.0], [0.0, 0.75, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]];
    let read = |made: Made| {
        let (_dir, path) = made.file();
        read_header(&path).unwrap()
    };
    for v2 in [false, true] {
        let base = Made { v2, ..made() };
        for (q, s, want, form) in [
            (0, 2, sform, Form::Sform),
            (1, 2, sform, Form::Sform),
            (1, 1, sform, Form::Sform),
            (1, 0, turned, Form::Qform),
            (0, 0, sizes, Form::Neither),
        ] {
            let h = read(Made { qform: (q, QUARTER), sform: (s, SFORM), ..base.clone() });
            near(h.affine(), want);
            assert_eq!(h.form(), form);
            let conflict = h.warnings().iter().any(
                |w| matches!(w, GeometryWarning::FormsDisagree { apart_mm } if *apart_mm > 1.0),
            );
            assert_eq!(conflict, q > 0 && s > 0);
            assert_eq!(h.warnings().contains(&GeometryWarning::NoForm), q == 0 && s == 0);
        }
        // The sign of the first pixdim mirrors z; 0 counts as 1; sizes count without sign.
        for (pixdim, z) in [
            ([0.0, 0.5, 0.75, 2.0], 2.0),
            ([-1.0, 0.5, 0.75, 2.0], -2.0),
            ([1.0, -0.5, -0.75, -2.0], 2.0),
            ([f64::NAN, 0.5, 0.75, 2.0], 2.0),
        ] {
            let h = read(Made { pixdim, qform: (1, QUARTER), sform: (0, SFORM), ..base.clone() });
            let mut want = turned;
            want[2][2] = z;
            near(h.affine(), want);
            assert_eq!(h.spacing_mm(), [2.0, 0.75, 0.5]);
        }
        // A shear is kept; an impossible quaternion is made a rotation.
        let mut sheared = SFORM;
        sheared[1] = 0.3;
        let h = read(Made { sform: (1, sheared), ..base.clone() });
        assert!((h.affine()[0][1] - 0.3).abs() < 1e-6);
        assert!(matches!(h.warnings()[0], GeometryWarning::Sheared { .. }));
        let long = [3.0, 4.0, 0.0, 0.0, 0.0, 0.0];
        let h = read(Made { qform: (1, long), sform: (0, SFORM), ..base.clone() });
        assert!(h.warnings().is_empty(), "{:?}", h.warnings());
        let h = read(Made { qform: (1, QUARTER), sform: (1, [0.0; 12]), ..base });
        near(h.affine(), turned);
        assert_eq!(h.warnings(), [GeometryWarning::BrokenForm]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a header says, reading and every question about it end without panic.
    #[test]
    fn any_header_is_survived(
        changes in prop::collection::vec((0usize..560, any::<u8>()), 1..16),
        v2 in any::<bool>(), big in any::<bool>(), pair in any::<bool>(), packed in any::<bool>(),
    ) {
        let mut bytes = Made { v2, big, pair, qform: (1, QUARTER), ..made() }.bytes();
        let length = bytes.len();
        changes.iter().for_each(|&(at, v)| bytes[at % length] = v);
        let (dir, path) = match packed {
            true => saved("a.nii.gz", &gzip(&bytes)),
            false => saved(if pair { "a.hdr" } else { "a.nii" }, &bytes),
        };
        if pair {
            std::fs::write(dir.path().join("a.img"), [7u8; 12]).unwrap();
        }
        if let Ok(h) = read_header(&path) {
            let _ = (h.warnings(), h.orientation(), h.cut([0, 1, -1], [1, 1, 1]), h.form());
            let _ = h.differences(&asng_wgpu::data::Header::plain([2, 3, 2], [1.0; 3]));
            prop_assert!(h.spacing_mm().iter().all(|v| *v > 0.0 && v.is_finite()));
        }
        if let Ok(v) = read_image(&path) {
            prop_assert_eq!(v.data.len(), v.channels * v.shape.iter().product::<usize>());
        }
        let _ = read_labels(&path);
    }
}
