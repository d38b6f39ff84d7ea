//! Shader texts: found, expanded, parsed and reflected. No device needed.
//!
//! A shader is WGSL with minijinja loops and constants (strict: an unknown name
//! is an error). Debug builds read `shaders/` from disk, release builds carry it.

use crate::error::{Error, Result};
use crate::gpu::recording::Kernel;
use minijinja::{Environment, UndefinedBehavior};
use naga::{AddressSpace, ImageClass, StorageAccess, TypeInner};

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        /// Every shader: path below `shaders/` without ending, and its text.
        pub const SOURCES: &[(&str, &str)] = &[$(
            ($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $path, ".wgsl"))),
        )*];
    };
}

include!("shader_list.rs");

/// One binding as the shader declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingClass {
    /// `var<uniform>` of so many bytes.
    Uniform(u32),
    /// `var<storage, read>`.
    StorageRead,
    /// `var<storage, read_write>`.
    StorageReadWrite,
    /// `texture_storage_3d<rgba32float, read>`: no sampled textures, whose loads look up a level.
    StorageTextureRead,
    /// `texture_storage_3d<rgba32float, write>`.
    StorageTexture,
}

/// What naga says of a shader.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// Class of each binding of group 0, by number from 0.
    pub bindings: Vec<BindingClass>,
    /// Workgroup size.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
}

/// Shaders that others include; they have no entry point of their own.
pub const PARTS: &[&str] = &[
    "conv3d/gather_store",
    "conv3d/gather_sums",
    "loss/add_lanes",
    "loss/blocks_common",
    "loss/softmax",
    "norm/affine",
    "norm/common",
    "norm/gradient",
    "norm/on_load",
    "norm/pair_tree",
    "warp/record",
];

/// The text of a shader before expansion.
fn source(name: &str) -> Option<String> {
    let (_, embedded) = SOURCES.iter().find(|(path, _)| *path == name)?;
    if cfg!(debug_assertions) {
        let path = format!("{}/shaders/{name}.wgsl", env!("CARGO_MANIFEST_DIR"));
        if let Ok(text) = std::fs::read_to_string(path) {
            return Some(text);
        }
    }
    Some((*embedded).to_owned())
}

/// The text of a kernel's variant, expanded.
///
/// # Errors
/// [`Error::Device`] when the shader is unknown or its template is wrong.
pub fn expand(kernel: &Kernel) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_loader(|name| Ok(source(name)));
    let constants: std::collections::BTreeMap<&str, i64> =
        kernel.constants.iter().copied().collect();
    environment
        .get_template(kernel.shader)
        .and_then(|template| template.render(constants))
        .map_err(|e| Error::Device(format!("shader '{}' cannot be expanded: {e:#}", kernel.name())))
}

/// Parses an expanded text.
///
/// # Errors
/// [`Error::Device`] with naga's excerpt.
pub fn parse(kernel: &Kernel, text: &str) -> Result<naga::Module> {
    naga::front::wgsl::parse_str(text).map_err(|e| {
        Error::Device(format!("shader '{}': {}", kernel.name(), e.emit_to_string(text)))
    })
}

/// Bindings, workgroup size and workgroup memory of a parsed shader.
///
/// # Errors
/// [`Error::Device`] when a binding is of an unsupported class or out of order.
pub fn reflect(kernel: &Kernel, module: &naga::Module) -> Result<Reflection> {
    let wrong = |what: &str| Error::Device(format!("shader '{}': {what}", kernel.name()));
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| wrong(&e.to_string()))?;
    let mut bindings = Vec::new();
    let mut workgroup_bytes = 0;
    for (_, variable) in module.global_variables.iter() {
        if variable.space == AddressSpace::WorkGroup {
            workgroup_bytes += layouter[variable.ty].size;
        }
        let Some(binding) = &variable.binding else { continue };
        let class = match variable.space {
            AddressSpace::Uniform => {
                BindingClass::Uniform(layouter[variable.ty].to_stride().next_multiple_of(16))
            }
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                BindingClass::StorageReadWrite
            }
            AddressSpace::Storage { .. } => BindingClass::StorageRead,
            AddressSpace::Handle => match module.types[variable.ty].inner {
                TypeInner::Image { class: ImageClass::Storage { access, .. }, .. }
                    if access.contains(StorageAccess::STORE) =>
                {
                    BindingClass::StorageTexture
                }
                TypeInner::Image { class: ImageClass::Storage { .. }, .. } => {
                    BindingClass::StorageTextureRead
                }
                _ => return Err(wrong("a handle that is no storage texture")),
            },
            _ => return Err(wrong("a binding of an unknown address space")),
        };
        bindings.push((binding.binding, class));
    }
    bindings.sort_by_key(|(number, _)| *number);
    if bindings.iter().enumerate().any(|(i, (number, _))| i as u32 != *number) {
        return Err(wrong("bindings are not numbered 0, 1, 2, ..."));
    }
    let entry = module
        .entry_points
        .iter()
        .find(|e| e.name == "main")
        .ok_or_else(|| wrong("no entry point 'main'"))?;
    Ok(Reflection {
        bindings: bindings.into_iter().map(|(_, class)| class).collect(),
        workgroup_size: entry.workgroup_size,
        workgroup_bytes,
    })
}
