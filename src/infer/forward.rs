//! The forward pass of a tile, recorded and placed in memory: all of a prediction that needs no device.

use crate::error::Result;
use crate::gpu::{Caps, Lifetime, MemoryPlan, Recording, SlotId};
use crate::nn::unet::UNet;
use crate::ops::stage::Stage;
use crate::ops::tensor::{Storage, Tensors, View};
use crate::ops::{ConvVariant, Lowering};

/// A network's forward pass on one tile.
pub(super) struct Forward {
    pub tensors: Tensors,
    pub placed: MemoryPlan,
    pub recording: Recording,
    /// Flat weights.
    pub parameters: SlotId,
    /// 1,C,D,H,W.
    pub image: View,
    /// 1,output channels,D,H,W.
    pub logits: View,
}

impl Forward {
    /// Records a network for a device of these limits, and holds every resource, binding and number of
    /// workgroups against them.
    ///
    /// # Errors
    /// [`crate::Error::Device`] naming the patch and the limit that it exceeds.
    pub fn new(caps: &Caps, variant: ConvVariant, net: &UNet) -> Result<Self> {
        let [d, h, w] = net.plan.patch;
        let advice = format!(
            "the network was trained with patches of {d},{h},{w}, which this device cannot \
             process: choose another one with --device"
        );
        Self::recorded(caps, variant, net).map_err(|e| e.advise(&advice))
    }

    fn recorded(caps: &Caps, variant: ConvVariant, net: &UNet) -> Result<Self> {
        let plan = &net.plan;
        let mut tensors = Tensors::new(caps);
        let keep = Lifetime::Persistent;
        let parameters = tensors.slots.buffer("parameters", net.parameters.elements() * 4, keep);
        let mut add = |name, channels: u32| {
            tensors.add(name, 1, &[channels], plan.patch, Storage::Buffer, keep)
        };
        let image = add("image", plan.in_channels)?.view();
        let output = add("output", plan.classes)?.view();
        let mut recording = Recording::new();
        let mut l = Lowering { tensors: &mut tensors, recording: &mut recording, variant };
        let activations = net.forward(&mut l, parameters, image, &[true])?;
        for &logits in &activations.logits {
            Stage { from: logits, to: output }.lower(&mut l);
        }
        let placed = MemoryPlan::new(&tensors.slots, &[&recording]);
        placed.check(caps)?;
        recording.check(&tensors.slots, caps)?;
        Ok(Forward { tensors, placed, recording, parameters, image, logits: output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::plan::NetworkPlan;

    #[test]
    fn what_is_recorded_is_within_the_limits_and_the_rest_names_the_device() {
        let large = Caps {
            max_binding_bytes: 4 << 30,
            max_buffer_bytes: 1 << 40,
            max_texture_3d: 16384,
            ..Caps::portable()
        };
        for patch in [[192; 3], [16, 2048, 2048]] {
            for classes in [2, 32, 105] {
                let spacing = if patch[0] == 16 { [6.0, 1.0, 1.0] } else { [1.0; 3] };
                let net =
                    UNet::new(NetworkPlan::from_spacing(1, classes, 32, patch, 2, spacing, 0));
                let forward = Forward::new(&large, ConvVariant::Simt, &net).unwrap();
                let groups = forward.recording.dispatches().flat_map(|d| d.groups);
                assert!(groups.max().is_some_and(|most| most <= 65535));
                let portable = Forward::new(&Caps::portable(), ConvVariant::Simt, &net);
                if patch[0] == 192 {
                    assert!(portable.is_ok(), "{:?}", portable.err());
                } else {
                    let text = portable.err().unwrap().to_string();
                    assert!(text.contains("16,2048,2048") && text.contains("--device"), "{text}");
                }
            }
        }
    }
}
