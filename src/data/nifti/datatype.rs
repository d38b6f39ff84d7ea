//! Voxel types and their decoding.

/// Voxel types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl DataType {
    /// From the header's `datatype` code, if it is an integer or float type.
    pub fn from_code(code: i16) -> Option<Self> {
        Some(match code {
            2 => Self::U8,
            4 => Self::I16,
            8 => Self::I32,
            16 => Self::F32,
            64 => Self::F64,
            256 => Self::I8,
            512 => Self::U16,
            768 => Self::U32,
            1024 => Self::I64,
            1280 => Self::U64,
            _ => return None,
        })
    }

    /// What a code stands for that is not read (NIfTI-1 standard).
    pub(super) fn unread_name(code: i16) -> &'static str {
        match code {
            0 => "not set",
            1 => "single bits",
            32 | 1792 | 2048 => "complex numbers",
            128 | 2304 => "RGB colours",
            1536 => "128-bit floats",
            _ => "unknown",
        }
    }

    /// The header's `datatype` code.
    pub fn code(self) -> i16 {
        match self {
            Self::U8 => 2,
            Self::I16 => 4,
            Self::I32 => 8,
            Self::F32 => 16,
            Self::F64 => 64,
            Self::I8 => 256,
            Self::U16 => 512,
            Self::U32 => 768,
            Self::I64 => 1024,
            Self::U64 => 1280,
        }
    }

    /// Bytes a value.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Decodes `bytes` (a whole number of values) and appends them to `out`.
    pub(super) fn decode(self, big: bool, bytes: &[u8], out: &mut Vec<f64>) {
        macro_rules! run {
            ($t:ty, $n:literal) => {
                out.extend(bytes.chunks_exact($n).map(|c| {
                    let mut b = [0u8; $n];
                    b.copy_from_slice(c);
                    (if big { <$t>::from_be_bytes(b) } else { <$t>::from_le_bytes(b) }) as f64
                }))
            };
        }
        match self {
            Self::U8 => run!(u8, 1),
            Self::I8 => run!(i8, 1),
            Self::U16 => run!(u16, 2),
            Self::I16 => run!(i16, 2),
            Self::U32 => run!(u32, 4),
            Self::I32 => run!(i32, 4),
            Self::U64 => run!(u64, 8),
            Self::I64 => run!(i64, 8),
            Self::F32 => run!(f32, 4),
            Self::F64 => run!(f64, 8),
        }
    }
}
