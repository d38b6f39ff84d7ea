//! The three planes of a volume as radiologists look at them: the patient's right, or front, is on
//! the left.

/// How a plane is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub name: &'static str,
    /// Directions at the left and the top edge.
    pub letters: [&'static str; 2],
    /// The axis along which the plane does not extend.
    fixed: usize,
    /// The axis downwards, and whether it runs against its index.
    down: (usize, bool),
    /// The same of the axis to the right.
    right: (usize, bool),
}

/// The voxels of a plane as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct PlaneVoxels {
    pub height: usize,
    pub width: usize,
    /// Height and width in mm.
    pub size_mm: [f64; 2],
    /// Flat D,H,W indices, rows from the top, columns from the left.
    pub indices: Vec<usize>,
}

/// The axial, coronal and sagittal look at a grid. `axes`: for right, anterior, superior the array
/// axis (0, 1, 2 = D, H, W) along it, and whether its index grows towards it.
pub(crate) fn looks([right, front, top]: [(usize, bool); 3]) -> [Look; 3] {
    let look = |name, letters, fixed: (usize, bool), down, right| Look {
        name,
        letters,
        fixed: fixed.0,
        down,
        right,
    };
    [
        look("axial", ["R", "A"], top, front, right),
        look("coronal", ["R", "S"], front, top, right),
        look("sagittal", ["A", "S"], right, top, front),
    ]
}

impl Look {
    /// The plane through voxel `at` of a grid of `shape`, both D,H,W; no edge is 0.
    pub fn plane(&self, shape: [usize; 3], at: [usize; 3], spacing_mm: [f64; 3]) -> PlaneVoxels {
        let Look { fixed, down, right, .. } = *self;
        let (height, width) = (shape[down.0], shape[right.0]);
        let turn = |i: usize, edge: usize, against| if against { edge - 1 - i } else { i };
        let mut indices = Vec::with_capacity(height * width);
        for y in 0..height {
            for x in 0..width {
                let mut voxel = [0; 3];
                voxel[fixed] = at[fixed].min(shape[fixed] - 1);
                voxel[down.0] = turn(y, height, down.1);
                voxel[right.0] = turn(x, width, right.1);
                indices.push((voxel[0] * shape[1] + voxel[1]) * shape[2] + voxel[2]);
            }
        }
        let size_mm = [down, right].map(|(axis, _)| shape[axis] as f64 * spacing_mm[axis]);
        PlaneVoxels { height, width, size_mm, indices }
    }
}
