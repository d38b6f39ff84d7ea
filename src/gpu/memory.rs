//! Placing slots in device memory: lifetimes are known, so transient slots share storage.

use super::caps::Caps;
use super::device::Gpu;
use super::recording::Recording;
use super::slot::{Lifetime, SlotId, SlotKind, SlotSpec, Slots};
use crate::error::{Error, Result};
use crate::host;

/// Which physical resource each slot takes, and how large they are: a pure
/// function of slots and recordings, so a dry run knows the memory.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    resources: Vec<(SlotKind, String)>,
    /// Resource of each slot; `None` for slots that nothing uses.
    placement: Vec<Option<usize>>,
}

impl MemoryPlan {
    /// Places all slots that the recordings use, and all persistent ones.
    /// Transient slots whose uses (command positions over all recordings, put
    /// one behind the other) do not overlap share a resource; larger first.
    pub fn new(slots: &Slots, recordings: &[&Recording]) -> Self {
        let mut uses: Vec<Option<(usize, usize)>> = vec![None; slots.len()];
        let commands = recordings.iter().flat_map(|r| r.commands.iter());
        for (position, command) in commands.enumerate() {
            for SlotId(slot) in command.slots() {
                let span = uses[slot as usize].get_or_insert((position, position));
                span.1 = position;
            }
        }
        let mut plan = MemoryPlan { resources: Vec::new(), placement: vec![None; slots.len()] };
        let mut order: Vec<usize> = (0..slots.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(slots.specs[i].kind.bytes()), i));
        let mut occupied: Vec<Option<Vec<(usize, usize)>>> = Vec::new();
        for index in order {
            let spec = &slots.specs[index];
            let shared = match (spec.lifetime, uses[index]) {
                (Lifetime::Persistent, _) => None,
                (Lifetime::Transient, None) => continue,
                (Lifetime::Transient, Some(span)) => Some(span),
            };
            let fit = shared.and_then(|(first, last)| {
                occupied.iter().enumerate().position(|(resource, spans)| {
                    let fits = match (plan.resources[resource].0, spec.kind) {
                        (SlotKind::Buffer { bytes }, SlotKind::Buffer { bytes: need }) => {
                            bytes >= need
                        }
                        (have, need) => have == need,
                    };
                    let free = spans
                        .as_ref()
                        .is_some_and(|s| s.iter().all(|&(a, b)| last < a || b < first));
                    fits && free
                })
            });
            let resource = fit.unwrap_or_else(|| {
                plan.resources.push((spec.kind, spec.name.clone()));
                occupied.push(shared.map(|_| Vec::new()));
                plan.resources.len() - 1
            });
            if let (Some(spans), Some(span)) = (&mut occupied[resource], shared) {
                spans.push(span);
            }
            plan.placement[index] = Some(resource);
        }
        plan
    }

    /// Device memory of all resources, in bytes.
    pub fn bytes(&self) -> u64 {
        self.resources.iter().map(|(kind, _)| kind.bytes()).sum()
    }

    /// Whether each resource is within a device's limits.
    ///
    /// # Errors
    /// [`Error::Device`] naming the first that is not.
    pub fn check(&self, caps: &Caps) -> Result<()> {
        for (kind, name) in &self.resources {
            let too_large = match *kind {
                SlotKind::Buffer { bytes } => bytes > caps.max_buffer_bytes,
                SlotKind::Texture { size } => size.iter().any(|&e| e > caps.max_texture_3d),
            };
            if too_large {
                return Err(Error::Device(format!(
                    "'{name}' needs {} MiB in one piece, more than this device allows",
                    kind.bytes().div_ceil(1 << 20)
                )));
            }
        }
        Ok(())
    }

    /// Number of buffers and textures.
    pub fn resources(&self) -> usize {
        self.resources.len()
    }
}

/// A buffer or a texture on the device.
#[derive(Debug)]
pub(super) enum Resource {
    Buffer(wgpu::Buffer),
    Texture(wgpu::TextureView),
}

/// The storage of all slots on a device.
#[derive(Debug)]
pub struct Memory {
    resources: Vec<Resource>,
    placement: Vec<Option<usize>>,
    specs: Vec<SlotSpec>,
}

impl Memory {
    /// Creates the resources of a plan.
    ///
    /// # Errors
    /// [`Error::Device`] when a slot exceeds the device's limits or memory runs out.
    pub fn new(gpu: &Gpu, slots: &Slots, plan: &MemoryPlan) -> Result<Self> {
        plan.check(gpu.caps())?;
        // A software adapter computes in the host's memory, and gets it page by page.
        if gpu.caps().cpu && host::free_bytes().is_some_and(|free| plan.bytes() > free) {
            return Err(Error::Device(format!(
                "'{}' would take {} MiB of the host's memory, more than is free; use a smaller \
                 --patch, --features or --batch-size",
                gpu.name(),
                plan.bytes() >> 20
            )));
        }
        let resources = gpu.guarded("allocating memory", || {
            plan.resources.iter().map(|(kind, name)| gpu.create(*kind, name)).collect()
        })?;
        Ok(Memory { resources, placement: plan.placement.clone(), specs: slots.specs.clone() })
    }

    pub(super) fn resource(&self, slot: SlotId) -> Result<&Resource> {
        self.placement
            .get(slot.0 as usize)
            .copied()
            .flatten()
            .map(|i| &self.resources[i])
            .ok_or_else(|| {
                Error::Device(format!("slot {} has no storage: no recording uses it", slot.0))
            })
    }

    pub(super) fn buffer(&self, slot: SlotId) -> Result<&wgpu::Buffer> {
        match self.resource(slot)? {
            Resource::Buffer(buffer) => Ok(buffer),
            Resource::Texture(_) => Err(Error::Device(format!(
                "slot '{}' is a texture",
                self.specs[slot.0 as usize].name
            ))),
        }
    }

    pub(super) fn texture(&self, slot: SlotId) -> Result<&wgpu::Texture> {
        match self.resource(slot)? {
            Resource::Texture(view) => Ok(view.texture()),
            Resource::Buffer(_) => Err(Error::Device(format!(
                "slot '{}' is a buffer",
                self.specs[slot.0 as usize].name
            ))),
        }
    }

    pub(super) fn bytes(&self, slot: SlotId) -> u64 {
        self.specs[slot.0 as usize].kind.bytes()
    }

    /// A slot's name and size.
    pub(super) fn described(&self, slot: SlotId) -> (&str, SlotKind) {
        let spec = &self.specs[slot.0 as usize];
        (&spec.name, spec.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Binding, Dispatch, Kernel};

    fn touch(recording: &mut Recording, slots: &[SlotId]) {
        let bindings = slots.iter().map(|&s| Binding::read(s)).collect();
        recording.dispatch(Dispatch::new(Kernel::plain("x"), &[0u32; 4], bindings, [1, 1, 1]));
    }

    #[test]
    fn transient_slots_share_storage_only_when_their_lifetimes_are_apart() {
        let mut slots = Slots::new();
        let a = slots.buffer("a", 1000, Lifetime::Transient);
        let b = slots.buffer("b", 500, Lifetime::Transient);
        let c = slots.buffer("c", 900, Lifetime::Transient);
        let keep = slots.buffer("keep", 100, Lifetime::Persistent);
        let unused = slots.buffer("unused", 1 << 30, Lifetime::Transient);
        let mut recording = Recording::new();
        touch(&mut recording, &[a, keep]);
        touch(&mut recording, &[a, b]);
        touch(&mut recording, &[b, c]);
        let plan = MemoryPlan::new(&slots, &[&recording]);
        assert_eq!(plan.placement[a.0 as usize], plan.placement[c.0 as usize]);
        assert_ne!(plan.placement[a.0 as usize], plan.placement[b.0 as usize]);
        assert_eq!(plan.placement[unused.0 as usize], None);
        assert_eq!(plan.bytes(), 1008 + 512 + 112);
    }
}
