//! Device choice, slots, pipelines and recordings: the only module that uses wgpu.
//!
//! It knows nothing of tensors or networks. Callers declare named [`Slots`],
//! append [`Dispatch`]es to a [`Recording`] (plain data, no device needed),
//! let [`Memory`] place the slots, and turn recordings into [`Program`]s.

mod adapter;
mod caps;
mod device;
mod fault;
mod limits;
mod memory;
mod program;
mod recording;
pub mod shader;
mod slot;
mod tiles;

pub use adapter::{AdapterChoice, AdapterSummary, list_adapters, no_adapter};
pub use caps::{Caps, MOST_BINDING_BYTES, WorkLimits};
pub use device::Gpu;
pub use fault::Fault;
pub use memory::{Memory, MemoryPlan};
pub use program::{Program, Timing};
pub use recording::{
    Access, Binding, Command, Dispatch, FILL_PITCH, Kernel, Recording, linear_groups,
};
pub use slot::{Lifetime, SlotId, SlotKind, Slots};
pub use tiles::{Tile, Tiled, Tiles};
