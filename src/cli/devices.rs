//! `asng-wgpu devices`.

use crate::error::{Error, Result};
use crate::gpu::list_adapters;

#[derive(clap::Args, Debug)]
pub(super) struct Devices {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Only this graphics interface: vulkan, metal, dx12 or gl.
    #[arg(long, default_value = "", hide_default_value = true)]
    backend: String,
}

impl Devices {
    pub(super) fn run(&self) -> Result<()> {
        let adapters = list_adapters(&self.backend)?;
        if self.json {
            let text = serde_json::to_string_pretty(&adapters)
                .map_err(|e| Error::Input(format!("the list cannot be printed: {e}")))?;
            println!("{text}");
            return Ok(());
        }
        if adapters.is_empty() {
            return Err(Error::Device(
                "no GPU adapter was found; install a Vulkan driver (mesa-vulkan-drivers also \
                 brings a software one)"
                    .into(),
            ));
        }
        for a in adapters {
            let auto = if a.auto { "  (auto)" } else { "" };
            println!("{}  {}{auto}", a.index, a.name);
            println!("   {} {}, {}", a.backend, a.kind, a.driver);
            println!(
                "   binding {} MiB, buffer {} MiB, subgroups {} to {}, {}",
                a.max_binding_bytes >> 20,
                a.max_buffer_bytes >> 20,
                a.subgroup_size[0],
                a.subgroup_size[1],
                a.features.join(", ")
            );
        }
        Ok(())
    }
}
