//! A recording: a plain list of dispatches on named slots. No device needed.

use super::slot::SlotId;
use super::tiles::Tiled;

/// A shader with the constants of one variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kernel {
    /// Path below `shaders/` without the ending, as `norm/statistics`.
    pub shader: &'static str,
    /// Template constants, by name.
    pub constants: Vec<(&'static str, i64)>,
}

impl Kernel {
    /// A shader without constants.
    pub fn plain(shader: &'static str) -> Self {
        Kernel { shader, constants: Vec::new() }
    }

    /// A shader with template constants.
    pub fn with(shader: &'static str, constants: &[(&'static str, i64)]) -> Self {
        Kernel { shader, constants: constants.to_vec() }
    }

    /// The readable name of the variant: pipeline label, profile row, bench row.
    pub fn name(&self) -> String {
        if self.constants.is_empty() {
            return self.shader.to_owned();
        }
        let list: Vec<String> = self.constants.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{}[{}]", self.shader, list.join(","))
    }
}

/// How a dispatch uses a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Written, perhaps also read (buffers only).
    Write,
}

/// A slot, or a range of a buffer slot, bound to a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The slot.
    pub slot: SlotId,
    /// How it is used.
    pub access: Access,
    /// Range of a buffer in bytes (offset a multiple of 256); `None` binds it whole.
    pub range: Option<(u64, u64)>,
}

impl Binding {
    /// The whole slot, read.
    pub fn read(slot: SlotId) -> Self {
        Binding { slot, access: Access::Read, range: None }
    }

    /// The whole slot, written.
    pub fn write(slot: SlotId) -> Self {
        Binding { slot, access: Access::Write, range: None }
    }

    /// The same binding restricted to `bytes` from `offset`.
    pub fn range(mut self, offset: u64, bytes: u64) -> Self {
        self.range = Some((offset, bytes));
        self
    }
}

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// What runs.
    pub kernel: Kernel,
    /// The content of the uniform at binding 0 (a `#[repr(C)]` struct's bytes).
    pub params: Vec<u8>,
    /// Bindings 1, 2, ... of group 0, in order.
    pub bindings: Vec<Binding>,
    /// Workgroups along x, y, z.
    pub groups: [u32; 3],
    /// Floating point operations (multiply-add = 2), for profiles and submission cuts.
    pub flops: u64,
    /// Bytes that must move at least, for profiles.
    pub bytes: u64,
    /// The choice of its tile, where the kernel comes in several.
    pub tiled: Option<Tiled>,
}

impl Dispatch {
    /// A dispatch with its parameters; work counts start at 0.
    pub fn new<P: bytemuck::NoUninit>(
        kernel: Kernel,
        params: &P,
        bindings: Vec<Binding>,
        groups: [u32; 3],
    ) -> Self {
        let params = bytemuck::bytes_of(params).to_vec();
        Dispatch { kernel, params, bindings, groups, flops: 0, bytes: 0, tiled: None }
    }

    /// States the work: FLOPs and least bytes moved.
    pub fn work(mut self, flops: u64, bytes: u64) -> Self {
        self.flops = flops;
        self.bytes = bytes;
        self
    }
}

/// One step of a recording.
#[derive(Clone, Debug)]
pub enum Command {
    /// Launch a kernel.
    Dispatch(Dispatch),
    /// Copy `bytes` between buffers (offsets and size multiples of 4).
    Copy {
        /// Source buffer and offset.
        from: (SlotId, u64),
        /// Destination buffer and offset; another buffer than the source.
        to: (SlotId, u64),
        /// Size in bytes.
        bytes: u64,
    },
    /// Copy rows of a buffer into whole layers of a texture.
    Fill {
        /// Source buffer and offset of the first row, in bytes (a multiple of 16).
        from: (SlotId, u64),
        /// Texels (16 bytes) from one row to the next, a multiple of [`FILL_PITCH`].
        pitch: u32,
        /// Destination and its first layer.
        to: (SlotId, u32),
        /// Texels along w, rows, and layers.
        size: [u32; 3],
    },
    /// Fill a buffer with zero bytes.
    Clear(SlotId),
}

/// Rows that fill a texture begin at multiples of so many texels of 16 bytes (WebGPU: 256 bytes).
pub const FILL_PITCH: u32 = 16;

/// A list of commands, executed in order.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The commands.
    pub commands: Vec<Command>,
}

impl Recording {
    /// An empty recording.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a dispatch; one without workgroups is left out.
    pub fn dispatch(&mut self, dispatch: Dispatch) {
        if dispatch.groups.iter().all(|&g| g > 0) {
            self.commands.push(Command::Dispatch(dispatch));
        }
    }

    /// Appends all commands of another recording.
    pub fn append(&mut self, other: Recording) {
        self.commands.extend(other.commands);
    }

    /// The dispatches, in order.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.commands.iter().filter_map(|c| match c {
            Command::Dispatch(d) => Some(d),
            _ => None,
        })
    }

    /// Sum of all dispatches' FLOPs.
    pub fn flops(&self) -> u64 {
        self.dispatches().map(|d| d.flops).sum()
    }
}

impl Command {
    /// The slots a command touches.
    pub(crate) fn slots(&self) -> Vec<SlotId> {
        match self {
            Command::Dispatch(d) => d.bindings.iter().map(|b| b.slot).collect(),
            Command::Copy { from, to, .. } => vec![from.0, to.0],
            Command::Fill { from, to, .. } => vec![from.0, to.0],
            Command::Clear(slot) => vec![*slot],
        }
    }
}

/// Workgroup counts for `total` workgroups numbered linearly: more than 32768
/// are laid out in rows of 32768, so that a kernel finds its number as
/// `workgroup_id.y * 32768 + workgroup_id.x` and leaves when it is `>= total`.
pub fn linear_groups(total: u64) -> [u32; 3] {
    const ROW: u64 = 32768;
    if total <= ROW { [total as u32, 1, 1] } else { [ROW as u32, total.div_ceil(ROW) as u32, 1] }
}

#[cfg(test)]
mod tests {
    use super::linear_groups;

    #[test]
    fn linear_groups_cover_the_total_at_the_edges() {
        for total in [0u64, 1, 2, 32767, 32768, 32769, 65535, 65537, 1 << 30] {
            let [x, y, z] = linear_groups(total).map(u64::from);
            assert!(x * y * z >= total && x * y * z < total + 32768);
            assert!(x <= 65535 && y <= 65535);
        }
    }
}
