//! Every voxel type and byte order, damaged files, and the round trip.

use crate::common::{Raw, gzip, sentence};
use asng_wgpu::data::nifti::{
    Header, read_header, read_image, read_labels, write_image, write_image_i16, write_labels,
};
use proptest::prelude::*;
use std::path::PathBuf;

fn write(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// 2 x 3 x 2 voxels 0..12 of a type.
fn ramp(code: i16, big: bool) -> Vec<u8> {
    (0..12u8)
        .flat_map(|v| {
            let mut b = match code {
                2 | 256 => vec![v],
                4 | 512 => (v as u16).to_le_bytes().to_vec(),
                8 | 768 => (v as u32).to_le_bytes().to_vec(),
                1024 | 1280 => (v as u64).to_le_bytes().to_vec(),
                16 => (v as f32).to_le_bytes().to_vec(),
                _ => (v as f64).to_le_bytes().to_vec(),
            };
            if big {
                b.reverse();
            }
            b
        })
        .collect()
}

#[test]
fn all_types_and_byte_orders() {
    let dir = tempfile::tempdir().unwrap();
    for code in [2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280] {
        for big in [false, true] {
            let mut raw = Raw::new(2, 3, 2, code, ramp(code, big));
            raw.big = big;
            (raw.slope, raw.inter) = (2.0, -1.0);
            let plain = write(&dir, "a.nii", &raw.bytes());
            let packed = write(&dir, "a.nii.gz", &gzip(&raw.bytes()));
            for path in [plain, packed] {
                let v = read_image(&path).unwrap();
                assert_eq!((v.channels, v.shape, v.spacing_mm), (1, [2, 3, 2], [2.0, 0.75, 0.5]));
                let want: Vec<f32> = (0..12).map(|i| i as f32 * 2.0 - 1.0).collect();
                assert_eq!(v.data, want, "type {code} big {big}");
            }
            raw.slope = 0.0;
            let path = write(&dir, "l.nii", &raw.bytes());
            assert_eq!(read_labels(&path).unwrap().labels, (0..12).collect::<Vec<u16>>());
        }
    }
}

#[test]
fn channels_are_last_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut raw = Raw::new(2, 3, 1, 2, (0..12).collect());
    raw.dim[0] = 4;
    raw.dim[4] = 2;
    let path = write(&dir, "a.nii", &raw.bytes());
    let v = read_image(&path).unwrap();
    assert_eq!((v.channels, v.shape), (2, [1, 3, 2]));
    assert_eq!(v.data, (0..12).map(|v| v as f32).collect::<Vec<_>>());
    assert!(sentence(read_labels(&path), &path).contains("2 channels"));
}

#[test]
fn odd_voxel_sizes_are_tolerated() {
    let dir = tempfile::tempdir().unwrap();
    let mut raw = Raw::new(2, 3, 2, 2, ramp(2, false));
    raw.pixdim[..4].copy_from_slice(&[0.0, -0.5, 0.0, 2.0]);
    let path = write(&dir, "a.nii", &raw.bytes());
    let h = read_header(&path).unwrap();
    assert_eq!(h.spacing_mm(), [2.0, 1.0, 0.5]);
    assert!(h.qform().iter().flatten().all(|v| v.is_finite()));
}

#[test]
fn bad_headers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = Raw::new(2, 3, 2, 2, ramp(2, false));
    type Change = Box<dyn Fn(&mut Raw)>;
    let cases: Vec<(&str, Change)> = vec![
        ("dimensions", Box::new(|r| r.dim[0] = 9)),
        ("dimensions", Box::new(|r| r.dim[0] = -1)),
        ("voxels along dimension 2", Box::new(|r| r.dim[2] = 0)),
        ("voxels along dimension 1", Box::new(|r| r.dim[1] = -4)),
        ("32767 x 32767 x 32767", Box::new(|r| r.dim[1..4].fill(32767))),
        ("truncated", Box::new(|r| r.dim[1..4].fill(1000))),
        ("voxel type 128", Box::new(|r| r.code = 128)),
        ("voxel size NaN", Box::new(|r| r.pixdim[2] = f32::NAN)),
        ("data offset", Box::new(|r| r.offset = f32::NAN)),
        ("data offset", Box::new(|r| r.offset = -1e9)),
        ("truncated", Box::new(|r| r.offset = 1e6)),
    ];
    for (want, change) in cases {
        let mut raw = good.clone();
        change(&mut raw);
        for (name, bytes) in [("a.nii", raw.bytes()), ("a.nii.gz", gzip(&raw.bytes()))] {
            let path = write(&dir, name, &bytes);
            let e = sentence(read_image(&path), &path);
            assert!(e.contains(want), "{want}: {e}");
        }
    }
}

#[test]
fn damaged_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<u8> = (0..4000u32).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
    let bytes = Raw::new(20, 20, 10, 2, values).bytes();
    let packed = gzip(&bytes);
    for (i, cut) in [0, 1, 3, 100, 347, 1000, bytes.len() - 1].into_iter().enumerate() {
        let path = write(&dir, &format!("{i}.nii"), &bytes[..cut]);
        assert!(sentence(read_image(&path), &path).contains("truncated"), "{cut}");
    }
    for (i, cut) in [0, 1, 5, 40, 400, packed.len() / 2].into_iter().enumerate() {
        let path = write(&dir, &format!("{i}.nii.gz"), &packed[..cut]);
        sentence(read_image(&path), &path);
    }
    let path = write(&dir, "plain.nii.gz", &bytes);
    assert!(sentence(read_image(&path), &path).contains("not gzip"));
    let path = write(&dir, "text.nii", b"hello, this is no image at all, but long enough to look");
    assert!(sentence(read_image(&path), &path).contains("not a NIfTI"));
    let mut flipped = packed.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 0x55;
    let path = write(&dir, "crc.nii.gz", &flipped);
    assert!(sentence(read_image(&path), &path).contains("damaged"));
    let path = dir.path().join("none.nii.gz");
    sentence(read_image(&path), &path);
    sentence(read_image(dir.path()), dir.path());
}

#[test]
fn labels_must_be_whole() {
    let dir = tempfile::tempdir().unwrap();
    let raw = |values: [f32; 4]| {
        Raw::new(2, 2, 1, 16, values.iter().flat_map(|v| v.to_le_bytes()).collect()).bytes()
    };
    let path = write(&dir, "a.nii", &raw([0.0, 1.0004, 1.9999, 300.0]));
    assert_eq!(read_labels(&path).unwrap().labels, [0, 1, 2, 300]);
    for bad in [0.5, -1.0, f32::NAN, 70000.0] {
        let path = write(&dir, "b.nii", &raw([0.0, 0.0, 0.0, bad]));
        let e = sentence(read_labels(&path), &path);
        assert!(e.contains("(x 1, y 1, z 0)"), "{e}");
    }
}

#[test]
fn output_keeps_the_geometry() {
    let dir = tempfile::tempdir().unwrap();
    let mut raw = Raw::new(2, 3, 2, 4, ramp(4, true));
    raw.big = true;
    raw.slope = 3.0;
    raw.pixdim[0] = -1.0;
    let source = write(&dir, "in.nii.gz", &gzip(&raw.bytes()));
    let input = read_image(&source).unwrap();
    let out = dir.path().join("out.nii.gz");
    for top in [5u16, 300] {
        let mut labels: Vec<u16> = (0..12).map(|i| i % 3).collect();
        labels[7] = top;
        write_labels(&out, &labels, input.shape, &input.header).unwrap();
        let back = read_labels(&out).unwrap();
        assert_eq!(back.labels, labels);
        assert_eq!(back.header.datatype.size(), if top > 255 { 2 } else { 1 });
        assert_eq!(back.header.scaling, (1.0, 0.0));
        let same = Header {
            datatype: back.header.datatype,
            big_endian: false,
            scaling: (1.0, 0.0),
            ..input.header.clone()
        };
        assert_eq!(back.header, same);
        assert_eq!(input.header.affine(), back.header.affine());
    }
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(files.len(), 2, "no temporary file stays behind");
    let two = [input.data.clone(), input.data.clone()].concat();
    write_image(&out, &two, 2, input.shape, &input.header).unwrap();
    let back = read_image(&out).unwrap();
    assert_eq!((back.channels, back.data), (2, two));
    let ints: Vec<i16> = (-6..6).collect();
    let plain = dir.path().join("out.nii");
    write_image_i16(&plain, &ints, 1, input.shape, &input.header).unwrap();
    assert_eq!(read_image(&plain).unwrap().data, ints.map_f32());
    sentence(write_labels(&out, &[0u16; 11], input.shape, &input.header), &out);
    let wrong = dir.path().join("out.tmp");
    sentence(write_labels(&wrong, &[0u16; 12], input.shape, &input.header), &wrong);
    let nowhere = dir.path().join("no/out.nii.gz");
    sentence(write_labels(&nowhere, &[0u16; 12], input.shape, &input.header), &nowhere);
}

trait MapF32 {
    fn map_f32(&self) -> Vec<f32>;
}

impl MapF32 for Vec<i16> {
    fn map_f32(&self) -> Vec<f32> {
        self.iter().map(|&v| v as f32).collect()
    }
}

#[test]
fn nifti2_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut b = vec![0u8; 544];
    let mut put = |at: usize, v: &[u8]| b[at..at + v.len()].copy_from_slice(v);
    put(0, &540i32.to_le_bytes());
    put(4, b"n+2\0\r\n\x1a\n");
    put(12, &2i16.to_le_bytes());
    for (i, d) in [3i64, 2, 3, 2, 1, 1, 1, 1].iter().enumerate() {
        put(16 + 8 * i, &d.to_le_bytes());
    }
    for (i, d) in [1.0f64, 0.5, 0.75, 2.0].iter().enumerate() {
        put(104 + 8 * i, &d.to_le_bytes());
    }
    put(168, &544i64.to_le_bytes());
    put(348, &1i32.to_le_bytes());
    for (i, v) in
        [0.5f64, 0.0, 0.0, 10.0, 0.0, 0.75, 0.0, -4.0, 0.0, 0.0, 2.0, 7.5].iter().enumerate()
    {
        put(400 + 8 * i, &v.to_le_bytes());
    }
    b.extend(0..12u8);
    let path = write(&dir, "a.nii", &b);
    let v = read_image(&path).unwrap();
    assert_eq!((v.shape, v.spacing_mm), ([2, 3, 2], [2.0, 0.75, 0.5]));
    assert_eq!(v.data[11], 11.0);
    assert_eq!(v.header.affine()[0], [0.5, 0.0, 0.0, 10.0]);
    assert_eq!(v.header.affine()[2][3], 7.5);
}

#[test]
fn header_and_image_pairs_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut raw = Raw::new(2, 3, 2, 2, vec![]);
    raw.offset = 0.0;
    let mut header = raw.bytes();
    header[344..348].copy_from_slice(b"ni1\0");
    let hdr = write(&dir, "a.hdr", &header[..348]);
    let img = write(&dir, "a.img", &ramp(2, false));
    assert_eq!(read_image(&hdr).unwrap().data, read_image(&img).unwrap().data);
    assert_eq!(read_image(&hdr).unwrap().data[11], 11.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// No bytes make the reader panic or take absurd memory.
    #[test]
    fn any_damage_is_survived(changes in prop::collection::vec((0usize..400, any::<u8>()), 1..12), packed in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = Raw::new(4, 4, 3, 4, vec![1; 96]).bytes();
        for (at, v) in changes {
            bytes[at] = v;
        }
        let path = if packed { write(&dir, "a.nii.gz", &gzip(&bytes)) } else { write(&dir, "a.nii", &bytes) };
        if let Ok(v) = read_image(&path) {
            prop_assert_eq!(v.data.len(), v.channels * v.shape.iter().product::<usize>());
            let _ = (v.header.affine(), v.header.qform());
        }
        let _ = read_labels(&path);
    }
}

/// The `nifti` crate, written by other people, reads what this program writes.
#[test]
fn an_independent_reader_agrees() {
    use nifti::{IntoNdArray, NiftiObject, NiftiVolume, ReaderOptions};
    let dir = tempfile::tempdir().unwrap();
    let header =
        read_header(&write(&dir, "reference.nii", &Raw::new(2, 3, 2, 16, ramp(16, false)).bytes()))
            .unwrap();
    let labels: Vec<u16> = (0..12).map(|v| v * 20).collect();
    let image: Vec<f32> = (0..24).map(|v| v as f32 * 0.25 - 3.0).collect();
    let paths = ["l.nii.gz", "i.nii"].map(|name| dir.path().join(name));
    write_labels(&paths[0], &labels, [2, 3, 2], &header).unwrap();
    write_image(&paths[1], &image, 2, [2, 3, 2], &header).unwrap();
    for (path, values) in [
        (&paths[0], labels.iter().map(|&l| f32::from(l)).collect::<Vec<_>>()),
        (&paths[1], image.clone()),
    ] {
        let object = ReaderOptions::new().read_file(path).unwrap();
        let read = object.header();
        assert_eq!((read.scl_slope, read.scl_inter), (1.0, 0.0));
        let affine = header.affine();
        for (row, want) in [read.srow_x, read.srow_y, read.srow_z].iter().zip(affine) {
            assert_eq!(row.map(f64::from), want);
        }
        let volume = object.into_volume();
        let channels = values.len() / 12;
        assert_eq!(volume.dim()[..3], [2, 3, 2]);
        let array = volume.into_ndarray::<f32>().unwrap();
        for (i, want) in values.iter().enumerate() {
            let (c, z, y, x) = (i / 12, i / 6 % 2, i / 2 % 3, i % 2);
            let at: &[usize] = if channels > 1 { &[x, y, z, c] } else { &[x, y, z] };
            assert_eq!(array[at], *want, "{} {at:?}", path.display());
        }
    }
}
