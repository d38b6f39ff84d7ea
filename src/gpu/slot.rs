//! Named slots: the storage that dispatches read and write, before any of it exists.

/// Names one slot of a [`Slots`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub(crate) u32);

/// The storage behind a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// A buffer of so many bytes (a multiple of 4).
    Buffer {
        /// Size in bytes.
        bytes: u64,
    },
    /// A 3-D `rgba32float` texture; edges in texels.
    Texture {
        /// Edges along x, y, z.
        size: [u32; 3],
    },
}

impl SlotKind {
    /// Device memory that the slot needs, in bytes (texture padding not counted).
    pub fn bytes(&self) -> u64 {
        match *self {
            SlotKind::Buffer { bytes } => bytes,
            SlotKind::Texture { size } => size.iter().map(|&e| u64::from(e)).product::<u64>() * 16,
        }
    }
}

/// How long a slot keeps its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For ever: weights, inputs, read-backs.
    Persistent,
    /// From its first to its last use within one run of a recording; the
    /// storage is shared with other transient slots.
    Transient,
}

/// One entry of the table.
#[derive(Clone, Debug)]
pub(crate) struct SlotSpec {
    pub name: String,
    pub kind: SlotKind,
    pub lifetime: Lifetime,
}

/// All slots of an engine instance.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    pub(crate) specs: Vec<SlotSpec>,
}

impl Slots {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a buffer of `bytes`, rounded up to a multiple of 16 and at least 16.
    pub fn buffer(&mut self, name: &str, bytes: u64, lifetime: Lifetime) -> SlotId {
        self.add(name, SlotKind::Buffer { bytes: bytes.max(16).next_multiple_of(16) }, lifetime)
    }

    /// Adds a 3-D `rgba32float` texture with edges x, y, z in texels.
    pub fn texture(&mut self, name: &str, size: [u32; 3], lifetime: Lifetime) -> SlotId {
        self.add(name, SlotKind::Texture { size: size.map(|e| e.max(1)) }, lifetime)
    }

    fn add(&mut self, name: &str, kind: SlotKind, lifetime: Lifetime) -> SlotId {
        self.specs.push(SlotSpec { name: name.to_owned(), kind, lifetime });
        SlotId(self.specs.len() as u32 - 1)
    }

    /// What a slot is made of.
    pub fn kind(&self, id: SlotId) -> SlotKind {
        self.specs[id.0 as usize].kind
    }

    /// A slot's name.
    pub fn name(&self, id: SlotId) -> &str {
        &self.specs[id.0 as usize].name
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// True without any slot.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }
}
