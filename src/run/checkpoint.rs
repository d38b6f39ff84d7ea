//! Weights in safetensors under Generic_UNet's own names, written atomically.

use super::container::{Container, Tensor, encode};
use crate::error::{Error, Result};
use crate::files;
use crate::nn::plan::NetworkPlan;
use crate::nn::unet::UNet;
use std::path::Path;

/// Writes the flat `values` of a network's parameters, with its plan and a checksum as metadata,
/// to a temporary name beside `path`, syncs and renames.
///
/// # Errors
/// [`Error::Io`] naming the path; an earlier file stays intact.
pub fn write_checkpoint(path: &Path, net: &UNet, values: &[f32], epoch: u64) -> Result<()> {
    let bytes = encode(path, &network_texts(net, epoch)?, &weight_tensors(net, values))?;
    files::replace(path, &bytes)
}

/// The texts that every file with weights carries.
pub(super) fn network_texts(net: &UNet, epoch: u64) -> Result<Vec<(&'static str, String)>> {
    let plan = serde_json::to_string(&net.plan)
        .map_err(|e| Error::Input(format!("the plan cannot be written: {e}")))?;
    let version = crate::VERSION.to_owned();
    Ok(vec![("version", version), ("plan", plan), ("epoch", epoch.to_string())])
}

/// The parameters of a network, out of their flat values.
pub(super) fn weight_tensors<'a>(net: &'a UNet, values: &'a [f32]) -> Vec<Tensor<'a>> {
    let tensor = |parameter: &'a crate::nn::parameters::Parameter| {
        let start = parameter.offset as usize;
        Tensor {
            name: &parameter.name,
            shape: parameter.shape.iter().map(|&e| e as usize).collect(),
            values: &values[start..start + parameter.len() as usize],
        }
    };
    net.parameters.iter().map(tensor).collect()
}

/// Reads a checkpoint: its network and the flat values of the parameters. A file with a checksum
/// is held against it.
///
/// # Errors
/// [`Error::Io`] and [`Error::Input`] naming the file and what is wrong.
pub fn read_weights(path: &Path) -> Result<(UNet, Vec<f32>)> {
    weights_of(&Container::read(path)?)
}

/// The network and the flat values of the parameters in a file.
///
/// # Errors
/// [`Error::Input`] naming the file and what is wrong.
pub(super) fn weights_of(file: &Container) -> Result<(UNet, Vec<f32>)> {
    let plan = file.text("plan").ok_or_else(|| file.wrong("it has no plan"))?;
    let plan: NetworkPlan =
        serde_json::from_str(plan).map_err(|e| file.wrong(&format!("its plan: {e}")))?;
    plan.validate()?;
    let net = UNet::new(plan);
    // All of them first: a plan that was edited may ask for any size.
    let tensors: Vec<&[f32]> = net
        .parameters
        .iter()
        .map(|parameter| file.tensor(&parameter.name, parameter.len() as usize))
        .collect::<Result<_>>()?;
    let mut values = vec![0f32; net.parameters.elements() as usize];
    for (parameter, tensor) in net.parameters.iter().zip(tensors) {
        let start = parameter.offset as usize;
        values[start..start + tensor.len()].copy_from_slice(tensor);
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

    #[test]
    fn a_checkpoint_without_a_checksum_is_still_read() {
        let net = UNet::new(NetworkPlan::from_spacing(1, 2, 4, [16, 16, 16], 1, [1.0; 3], 2));
        let values = net.parameters.initial(3);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.safetensors");
        let view = |t: &Tensor| {
            let bytes = bytemuck::cast_slice(t.values).to_vec();
            (t.name.to_owned(), t.shape.clone(), bytes)
        };
        let owned: Vec<_> = weight_tensors(&net, &values).iter().map(view).collect();
        let views = owned.iter().map(|(name, shape, bytes)| {
            use safetensors::{Dtype, tensor::TensorView};
            (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        let plan = serde_json::to_string(&net.plan).unwrap();
        let texts = [("plan".to_owned(), plan), ("version".to_owned(), "0.0.1".to_owned())];
        let bytes = safetensors::serialize(views, Some(texts.into())).unwrap();
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read_weights(&path).unwrap().1, values);
    }
}
