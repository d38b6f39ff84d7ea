//! Holds what a recording asks for against a device's limits, without the device.

use super::caps::Caps;
use super::recording::{Dispatch, Recording};
use super::slot::{SlotId, SlotKind, Slots};
use crate::error::{Error, Result};

impl Recording {
    /// Whether every binding, whole or a range, and every number of workgroups is within a device's limits.
    ///
    /// # Errors
    /// [`Error::Device`] naming the first that is not.
    pub fn check(&self, slots: &Slots, caps: &Caps) -> Result<()> {
        let described = |slot| (slots.name(slot), slots.kind(slot));
        self.dispatches().try_for_each(|dispatch| check(dispatch, described, caps))
    }
}

/// [`Recording::check`] of one dispatch, with the name and size of each slot.
pub(super) fn check<'a>(
    dispatch: &Dispatch,
    described: impl Fn(SlotId) -> (&'a str, SlotKind),
    caps: &Caps,
) -> Result<()> {
    let refuse = |text: String| Err(Error::Device(text));
    let kernel = dispatch.kernel.shader;
    if let Some(&groups) = dispatch.groups.iter().find(|&&groups| groups > caps.max_groups) {
        return refuse(format!(
            "'{kernel}' needs {groups} workgroups along one axis, more than the {} that this \
             device allows",
            caps.max_groups
        ));
    }
    for binding in &dispatch.bindings {
        let (name, kind) = described(binding.slot);
        let SlotKind::Buffer { bytes } = kind else { continue };
        let (offset, length) = binding.range.unwrap_or((0, bytes));
        if length > caps.max_binding_bytes {
            return refuse(format!(
                "'{name}' needs a binding of {} MiB in '{kernel}', more than the {} MiB that this \
                 device allows",
                length.div_ceil(1 << 20),
                caps.max_binding_bytes >> 20
            ));
        }
        if offset % caps.offset_alignment != 0 || offset + length > bytes {
            return refuse(format!(
                "'{kernel}' binds {length} bytes of '{name}' from {offset} on, which is misaligned \
                 or beyond its {bytes} bytes"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Binding, Kernel, Lifetime};

    /// What is said of one dispatch on a buffer of 1024 bytes; limits of 512 bytes and 100 workgroups.
    fn outcome(range: Option<(u64, u64)>, groups: [u32; 3]) -> Result<()> {
        let mut slots = Slots::new();
        let slot = slots.buffer("sums", 1024, Lifetime::Transient);
        let binding = Binding { range, ..Binding::write(slot) };
        let mut recording = Recording::new();
        recording.dispatch(Dispatch::new(Kernel::plain("x"), &[0u32; 4], vec![binding], groups));
        let caps = Caps { max_binding_bytes: 512, max_groups: 100, ..Caps::portable() };
        recording.check(&slots, &caps)
    }

    #[test]
    fn bindings_and_workgroups_beyond_the_limits_are_refused() {
        outcome(Some((0, 512)), [100; 3]).unwrap();
        outcome(Some((512, 512)), [1; 3]).unwrap();
        for (range, groups, word) in [
            (None, [1; 3], "'sums'"),
            (Some((0, 516)), [1; 3], "'sums'"),
            (Some((128, 4)), [1; 3], "misaligned"),
            (Some((768, 512)), [1; 3], "beyond"),
            (Some((0, 512)), [1, 1, 101], "101 workgroups"),
            (Some((0, 512)), [101, 1, 1], "101 workgroups"),
        ] {
            let text = outcome(range, groups).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
