//! Which way a volume's axes run, and turning it so that they run right,
//! anterior, superior. Turning permutes and flips axes; no value is changed.

use super::nifti::{Header, LabelVolume, Volume};
use std::fmt;

/// Where the axes of a volume run, to the closest of the six directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Orientation {
    /// For the file's x, y, z: the direction (0 right, 1 anterior, 2 superior)
    /// nearest to the axis' line, and whether the index grows towards it.
    pub axes: [(usize, bool); 3],
}

impl Orientation {
    /// x to the right, y to anterior, z to superior.
    pub const RAS: Self = Self { axes: [(0, true), (1, true), (2, true)] };
}

/// Three letters as nibabel's `aff2axcodes` gives them: "RAS" if x grows to the
/// right, y to anterior and z to superior.
impl fmt::Display for Orientation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |(direction, grows): (usize, bool)| match (direction, grows) {
            (0, true) => 'R',
            (0, false) => 'L',
            (1, true) => 'A',
            (1, false) => 'P',
            (_, true) => 'S',
            (_, false) => 'I',
        };
        let [x, y, z] = self.axes.map(letter);
        write!(f, "{x}{y}{z}")
    }
}

impl Header {
    /// The orientation by the affine in use.
    pub fn orientation(&self) -> Orientation {
        let mut axes = [(0, true); 3];
        for (direction, (axis, grows)) in self.anatomical_axes().into_iter().enumerate() {
            axes[2 - axis] = (direction, grows);
        }
        Orientation { axes }
    }
}

/// A permutation and flips of the axes of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// D, H, W before.
    from: [usize; 3],
    /// For each axis after the turn, the axis before it.
    axes: [usize; 3],
    /// For each axis after the turn, whether it runs against the one before.
    flipped: [bool; 3],
}

impl Turn {
    /// The turn that brings a volume with this header to RAS.
    pub fn to_ras(header: &Header) -> Self {
        let (mut axes, mut flipped) = ([0; 3], [false; 3]);
        for (direction, (axis, grows)) in header.anatomical_axes().into_iter().enumerate() {
            (axes[2 - direction], flipped[2 - direction]) = (axis, !grows);
        }
        Self { from: header.shape(), axes, flipped }
    }

    /// The turn that puts the axes of a volume of edges `from` in another order: axis i of the
    /// result is axis `axes[i]` of the input.
    pub fn permutation(from: [usize; 3], axes: [usize; 3]) -> Self {
        Self { from, axes, flipped: [false; 3] }
    }

    /// Whether nothing moves.
    pub fn is_identity(&self) -> bool {
        self.axes == [0, 1, 2] && self.flipped == [false; 3]
    }

    /// D, H, W before the turn.
    pub fn shape_before(&self) -> [usize; 3] {
        self.from
    }

    /// D, H, W after the turn.
    pub fn shape_after(&self) -> [usize; 3] {
        self.permuted(self.from)
    }

    /// Values for the axes D, H, W before the turn, such as voxel sizes, in the
    /// order of the axes after it.
    pub fn permuted<T: Copy>(&self, values: [T; 3]) -> [T; 3] {
        self.axes.map(|axis| values[axis])
    }

    /// The turn back.
    pub fn inverse(&self) -> Self {
        let (mut axes, mut flipped) = ([0; 3], [false; 3]);
        for (after, &before) in self.axes.iter().enumerate() {
            (axes[before], flipped[before]) = (after, self.flipped[after]);
        }
        Self { from: self.shape_after(), axes, flipped }
    }

    /// Turns `data`: planes of D, H, W as before the turn, any number of them
    /// (channels first). Values that make up no whole plane are left out.
    pub fn apply<T: Copy>(&self, data: &[T]) -> Vec<T> {
        if self.is_identity() {
            return data.to_vec();
        }
        let [d, h, w] = self.shape_after();
        let [_, from_h, from_w] = self.from;
        let strides = self.permuted([(from_h * from_w) as isize, from_w as isize, 1]);
        // Each axis as (offset of its first index, step).
        let walk = |axis: usize, n: usize| match self.flipped[axis] {
            true => ((n as isize - 1) * strides[axis], -strides[axis]),
            false => (0, strides[axis]),
        };
        let [(z0, dz), (y0, dy), (x0, dx)] = [walk(0, d), walk(1, h), walk(2, w)];
        let mut out = Vec::with_capacity(data.len());
        for plane in data.chunks_exact((d * h * w).max(1)) {
            for z in 0..d as isize {
                for y in 0..h as isize {
                    let row = z0 + z * dz + y0 + y * dy + x0;
                    out.extend((0..w as isize).map(|x| plane[(row + x * dx) as usize]));
                }
            }
        }
        out
    }

    /// Turns back what [`apply`](Self::apply) turned: a label map (D, H, W) or
    /// channels (C, D, H, W), in the shape after the turn.
    pub fn undo<T: Copy>(&self, data: &[T]) -> Vec<T> {
        self.inverse().apply(data)
    }

    /// The header of the turned volume: every voxel keeps its place in the
    /// world, by the sform and by the qform.
    pub fn header(&self, header: &Header) -> Header {
        if self.is_identity() {
            return header.clone();
        }
        let mut turned = header.clone();
        // For the file's axes x, y, z after the turn: the axis before, and whether flipped.
        let source = [2, 1, 0].map(|axis| (2 - self.axes[axis], self.flipped[axis]));
        let moved = |rows: [[f64; 4]; 3]| {
            rows.map(|row| {
                let mut new = [0.0, 0.0, 0.0, row[3]];
                for (column, &(from, flipped)) in source.iter().enumerate() {
                    new[column] = if flipped { -row[from] } else { row[from] };
                    if flipped {
                        new[3] += row[from] * header.dims[from].saturating_sub(1) as f64;
                    }
                }
                new
            })
        };
        for (axis, &(from, _)) in source.iter().enumerate() {
            turned.dims[axis] = header.dims[from];
            turned.pixdim[axis + 1] = header.pixdim[from + 1];
        }
        turned.srow = moved(header.srow);
        if header.qform_code > 0 {
            turned.set_qform(moved(header.qform()));
        }
        turned
    }

    /// Turns an image on the grid before the turn.
    pub fn image(&self, volume: Volume) -> Volume {
        if self.is_identity() {
            return volume;
        }
        Volume {
            channels: volume.channels,
            shape: self.shape_after(),
            data: self.apply(&volume.data),
            spacing_mm: self.permuted(volume.spacing_mm),
            header: self.header(&volume.header),
        }
    }

    /// Turns a label map on the grid before the turn.
    pub fn labels(&self, volume: LabelVolume) -> LabelVolume {
        if self.is_identity() {
            return volume;
        }
        LabelVolume {
            shape: self.shape_after(),
            labels: self.apply(&volume.labels),
            spacing_mm: self.permuted(volume.spacing_mm),
            header: self.header(&volume.header),
        }
    }
}

/// Turns an image to RAS; also gives the turn, for the way back.
pub fn to_ras(volume: Volume) -> (Volume, Turn) {
    let turn = Turn::to_ras(&volume.header);
    (turn.image(volume), turn)
}

/// Turns a label map to RAS; also gives the turn, for the way back.
pub fn labels_to_ras(volume: LabelVolume) -> (LabelVolume, Turn) {
    let turn = Turn::to_ras(&volume.header);
    (turn.labels(volume), turn)
}
