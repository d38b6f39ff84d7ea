//! Weights in safetensors under Generic_UNet's own names, written atomically.

use crate::error::{Error, Result};
use crate::files;
use crate::nn::plan::NetworkPlan;
use crate::nn::unet::UNet;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::path::Path;

/// Writes the flat `values` of a network's parameters, with its plan as metadata, to a temporary
/// name beside `path`, syncs and renames.
///
/// # Errors
/// [`Error::Io`] naming the path; an earlier file stays intact.
pub fn write_checkpoint(path: &Path, net: &UNet, values: &[f32], epoch: u64) -> Result<()> {
    let plan = serde_json::to_string(&net.plan)
        .map_err(|e| Error::Input(format!("the plan cannot be written: {e}")))?;
    let metadata = HashMap::from([
        ("version".to_string(), env!("CARGO_PKG_VERSION").to_string()),
        ("plan".to_string(), plan),
        ("epoch".to_string(), epoch.to_string()),
    ]);
    let mut tensors = Vec::new();
    for parameter in net.parameters.iter() {
        let start = parameter.offset as usize;
        let run = &values[start..start + parameter.len() as usize];
        let shape = parameter.shape.iter().map(|&e| e as usize).collect();
        let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(run))
            .map_err(|e| Error::Input(format!("'{}': {e}", parameter.name)))?;
        tensors.push((parameter.name.clone(), view));
    }
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|e| Error::Input(format!("'{}': {e}", path.display())))?;
    files::replace(path, &bytes)
}

/// Reads a checkpoint: its network and the flat values of the parameters.
///
/// # Errors
/// [`Error::Io`] and [`Error::Input`] naming the file and what is wrong.
pub fn read_weights(path: &Path) -> Result<(UNet, Vec<f32>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read checkpoint", path, e))?;
    let wrong = |what: String| {
        Error::Input(format!("'{}' is no checkpoint of this program: {what}", path.display()))
    };
    let (_, header) =
        safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| wrong(e.to_string()))?;
    let plan = header.metadata().as_ref().and_then(|m| m.get("plan"));
    let plan = plan.ok_or_else(|| wrong("it has no plan".into()))?;
    let plan: NetworkPlan = serde_json::from_str(plan).map_err(|e| wrong(e.to_string()))?;
    plan.validate()?;
    let net = UNet::new(plan);
    let file = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
    let mut values = vec![0f32; net.parameters.elements() as usize];
    for parameter in net.parameters.iter() {
        let view = file.tensor(&parameter.name).map_err(|e| wrong(e.to_string()))?;
        if view.dtype() != Dtype::F32 || view.data().len() as u64 != parameter.len() * 4 {
            return Err(wrong(format!("'{}' has another shape", parameter.name)));
        }
        let start = parameter.offset as usize;
        for (value, word) in values[start..].iter_mut().zip(view.data().chunks_exact(4)) {
            *value = f32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        }
    }
    Ok((net, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_survive_the_file() {
        let plan = NetworkPlan::from_spacing(1, 2, 4, [16, 16, 16], 1, [1.0; 3], 2);
        let net = UNet::new(plan.clone());
        let values = net.parameters.initial(3);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        write_checkpoint(&path, &net, &values, 7).unwrap();
        let (read, same) = read_weights(&path).unwrap();
        assert_eq!(read.plan, plan);
        assert_eq!(same, values);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_truncated_checkpoint_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.safetensors");
        std::fs::write(&path, [9u8; 20]).unwrap();
        assert!(read_weights(&path).unwrap_err().to_string().contains("cut.safetensors"));
    }
}
