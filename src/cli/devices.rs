//! `asng-wgpu devices`.

use super::{checked_shaders, print, say};
use crate::error::{Error, Result};
use crate::gpu::{AdapterChoice, AdapterSummary, Gpu, list_adapters, no_adapter};
use crate::ops::selftest::{Verdict, check_first};

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu devices --backend vulkan

Each adapter computes a few small convolutions in every variant that it can run (a software adapter:
in the one it prefers) and compares them with sums in double precision. `auto` marks the adapter
that --device auto takes.")]
pub(super) struct Devices {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Only this graphics interface: vulkan, metal, dx12 or gl.
    #[arg(long, default_value = "", hide_default_value = true, help_heading = super::DEVICE)]
    backend: String,
    /// Test all variants on software adapters too, where compiling them takes a minute.
    #[arg(long)]
    all: bool,
}

/// An adapter and how its kernels did.
#[derive(serde::Serialize)]
struct Tested {
    #[serde(flatten)]
    adapter: AdapterSummary,
    /// Preferred variant first; empty if the adapter cannot be opened.
    variants: Vec<Verdict>,
    /// Why it cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl Devices {
    pub(super) fn run(&self) -> Result<()> {
        let adapters = list_adapters(&self.backend)?;
        let tested: Vec<Tested> = adapters.into_iter().map(|a| self.test(a)).collect();
        if self.json {
            let text = serde_json::to_string_pretty(&tested)
                .map_err(|e| Error::Input(format!("the list cannot be printed: {e}")))?;
            return print(&text);
        }
        if tested.is_empty() {
            return Err(no_adapter(&self.backend));
        }
        let texts: Vec<String> = tested.iter().map(describe).collect();
        print(&texts.join("\n"))
    }

    fn test(&self, adapter: AdapterSummary) -> Tested {
        let backend = self.backend.clone();
        let choice =
            AdapterChoice { device: adapter.index.to_string(), backend, ..Default::default() };
        say(&format!("testing '{}'", adapter.name));
        match Gpu::open(&choice, checked_shaders()) {
            Ok(gpu) => {
                let most = if gpu.caps().cpu && !self.all { 1 } else { usize::MAX };
                Tested { adapter, variants: check_first(&gpu, most), refused: None }
            }
            Err(e) => Tested { adapter, variants: Vec::new(), refused: Some(e.to_string()) },
        }
    }
}

fn describe(tested: &Tested) -> String {
    let a = &tested.adapter;
    let auto = if a.auto { "  (auto)" } else { "" };
    let features =
        if a.features.is_empty() { "no extras".to_string() } else { a.features.join(", ") };
    let mut text = format!(
        "{}  {}{auto}\n   {} {}, {}\n   binding {} MiB, buffer {} MiB, subgroups {} to {}, {features}",
        a.index,
        a.name,
        a.backend,
        a.kind,
        a.driver,
        a.max_binding_bytes >> 20,
        a.max_buffer_bytes >> 20,
        a.subgroup_size[0],
        a.subgroup_size[1],
    );
    if let Some(why) = &tested.refused {
        text += &format!("\n   {why}");
    }
    let verdict = |v: &Verdict| format!("{} {}", v.variant, if v.passes { "ok" } else { "fails" });
    if !tested.variants.is_empty() {
        let list: Vec<String> = tested.variants.iter().map(verdict).collect();
        text += &format!("\n   convolutions: {}", list.join(", "));
    }
    for reason in tested.variants.iter().filter_map(|v| v.reason.as_ref()) {
        text += &format!("\n   {reason}");
    }
    text
}
