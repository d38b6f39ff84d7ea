//! Builds NIfTI files byte by byte, independently of the program's writer.

use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use std::path::Path;

/// A NIfTI-1 file to be.
#[derive(Clone)]
pub struct Raw {
    pub big: bool,
    /// dim[0..8]
    pub dim: [i16; 8],
    pub code: i16,
    pub pixdim: [f32; 8],
    pub offset: f32,
    pub slope: f32,
    pub inter: f32,
    pub values: Vec<u8>,
}

impl Raw {
    /// x, y, z and values of type `code` encoded by `values`.
    pub fn new(x: i16, y: i16, z: i16, code: i16, values: Vec<u8>) -> Self {
        Self {
            big: false,
            dim: [3, x, y, z, 1, 1, 1, 1],
            code,
            pixdim: [1.0, 0.5, 0.75, 2.0, 0.0, 0.0, 0.0, 0.0],
            offset: 352.0,
            slope: 0.0,
            inter: 0.0,
            values,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut b = vec![0u8; 352];
        let mut put = |at: usize, mut v: Vec<u8>| {
            if self.big {
                v.reverse();
            }
            b[at..at + v.len()].copy_from_slice(&v);
        };
        put(0, 348i32.to_le_bytes().to_vec());
        for (i, d) in self.dim.iter().enumerate() {
            put(40 + 2 * i, d.to_le_bytes().to_vec());
        }
        put(70, self.code.to_le_bytes().to_vec());
        for (i, d) in self.pixdim.iter().enumerate() {
            put(76 + 4 * i, d.to_le_bytes().to_vec());
        }
        put(108, self.offset.to_le_bytes().to_vec());
        put(112, self.slope.to_le_bytes().to_vec());
        put(116, self.inter.to_le_bytes().to_vec());
        put(254, 2i16.to_le_bytes().to_vec());
        for (i, v) in
            [-0.5f32, 0.0, 0.0, 10.0, 0.0, 0.75, 0.0, -4.0, 0.1, 0.0, 2.0, 7.5].iter().enumerate()
        {
            put(280 + 4 * i, v.to_le_bytes().to_vec());
        }
        b[123] = 2;
        b[344..348].copy_from_slice(b"n+1\0");
        b.extend(&self.values);
        b
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut e = GzEncoder::new(Vec::new(), Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

/// An error's text; it must name the file and be one line.
pub fn sentence<T: std::fmt::Debug>(r: asng_wgpu::Result<T>, path: &Path) -> String {
    let e = r.unwrap_err().to_string();
    assert!(e.contains(&path.display().to_string()), "{e}");
    assert!(!e.contains('\n'), "{e}");
    e
}
