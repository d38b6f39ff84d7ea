//! Golden files, the comparer, and a device shared by the tests of one process.

pub mod conv;
pub mod dense;
pub mod unet;
pub mod window;

use asng_wgpu::gpu::{AdapterChoice, Gpu};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A tensor of a golden file.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub f32s: Vec<f32>,
    pub i32s: Vec<i32>,
}

/// One golden file.
pub struct Golden {
    pub name: String,
    pub op: String,
    pub params: serde_json::Value,
    pub tol: serde_json::Value,
    pub tensors: HashMap<String, Array>,
}

impl Golden {
    pub fn load(path: &Path) -> Result<Golden, String> {
        let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
        let file = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| e.to_string())?;
        let meta = header.metadata().clone().ok_or("no metadata")?;
        let text = |key: &str| meta.get(key).cloned().ok_or(format!("no '{key}'"));
        let json = |key: &str| -> Result<serde_json::Value, String> {
            serde_json::from_str(&text(key)?).map_err(|e| e.to_string())
        };
        let mut tensors = HashMap::new();
        for (name, view) in file.tensors() {
            let words: Vec<[u8; 4]> =
                view.data().chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]).collect();
            let is_float = view.dtype() == safetensors::Dtype::F32;
            let array = Array {
                shape: view.shape().to_vec(),
                f32s: if is_float {
                    words.iter().map(|w| f32::from_le_bytes(*w)).collect()
                } else {
                    vec![]
                },
                i32s: if is_float {
                    vec![]
                } else {
                    words.iter().map(|w| i32::from_le_bytes(*w)).collect()
                },
            };
            tensors.insert(name.to_string(), array);
        }
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Golden { name, op: text("op")?, params: json("params")?, tol: json("tol")?, tensors })
    }

    pub fn get(&self, name: &str) -> Result<&Array, String> {
        self.tensors.get(name).ok_or(format!("{}: no tensor '{name}'", self.name))
    }

    pub fn tolerance(&self, name: &str) -> Result<f64, String> {
        let direct = self.tol.get(name).or_else(|| {
            let entries = self.tol.as_object()?;
            entries.iter().find(|(k, _)| glob(k, name)).map(|(_, v)| v)
        });
        direct.and_then(serde_json::Value::as_f64).ok_or(format!("no tolerance for '{name}'"))
    }

    pub fn triple(&self, key: &str) -> Result<[u32; 3], String> {
        let list: Vec<u32> = self.list(key)?;
        list.try_into().map_err(|_| format!("'{key}' has not three entries"))
    }

    pub fn list(&self, key: &str) -> Result<Vec<u32>, String> {
        serde_json::from_value(self.params[key].clone()).map_err(|e| format!("'{key}': {e}"))
    }
}

fn glob(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))
}

/// Folder of the golden files: `ASNG_WGPU_GOLDEN`, else the project's own.
pub fn golden_folder() -> PathBuf {
    std::env::var_os("ASNG_WGPU_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), PathBuf::from)
}

/// `max |a - b| <= tol * max |b|` over one tensor (absolute 1e-6 where b is all but zero); length
/// and non-finite values first, then the worst position with both values.
pub fn close(what: &str, a: &[f32], b: &[f32], tol: f64) -> Result<(), String> {
    if a.len() != b.len() {
        return Err(format!("{what}: {} values instead of {}", a.len(), b.len()));
    }
    if let Some(i) = a.iter().position(|v| !v.is_finite()) {
        return Err(format!("{what}[{i}] is {}", a[i]));
    }
    let largest = b.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let bound = if largest < 1e-12 { 1e-6 } else { tol * largest };
    let worst = (0..a.len())
        .map(|i| (i, (f64::from(a[i]) - f64::from(b[i])).abs()))
        .max_by(|x, y| x.1.total_cmp(&y.1));
    match worst {
        Some((i, difference)) if difference.is_nan() || difference > bound => Err(format!(
            "{what}[{i}] is {} instead of {}: off by {difference:.3e}, allowed {bound:.3e}",
            a[i], b[i]
        )),
        _ => Ok(()),
    }
}

/// A device with bounds checks in its shaders.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        Gpu::open(&AdapterChoice::default(), true)
            .expect("the tests need a Vulkan, Metal or DX12 device")
    })
}

/// Inputs that golden files describe by a counter hash instead of storing them.
pub fn generated(seed: u32, log2scale: i32, count: usize) -> Vec<f32> {
    (0..count as u32)
        .map(|i| {
            let mut h = i.wrapping_mul(0x9E37_79B9).wrapping_add(seed.wrapping_mul(0x85EB_CA6B));
            h ^= h >> 16;
            h = h.wrapping_mul(0x7FEB_352D);
            h ^= h >> 15;
            h = h.wrapping_mul(0x846C_A68B);
            h ^= h >> 16;
            ((f64::from(h >> 8) - 8_388_608.0) / 8_388_608.0 * 2f64.powi(log2scale)) as f32
        })
        .collect()
}

/// Sampled values and sums of a tensor that golden files do not store whole.
pub fn close_sampled(golden: &Golden, name: &str, tol: f64, a: &[f32]) -> Result<(), String> {
    let index = &golden.get(&format!("{name}_idx"))?.i32s;
    let picked: Vec<f32> = index.iter().map(|&i| a[i as usize]).collect();
    close(name, &picked, &golden.get(&format!("{name}_val"))?.f32s, tol)?;
    let sums = &golden.get(&format!("{name}_sums"))?.f32s;
    let absolute: f64 = a.iter().map(|v| f64::from(v.abs())).sum();
    let squares: f64 = a.iter().map(|&v| f64::from(v).powi(2)).sum();
    close(&format!("{name}: sum of magnitudes"), &[absolute as f32], &sums[1..2], 1e-4)?;
    close(&format!("{name}: sum of squares"), &[squares as f32], &sums[2..3], 1e-4)
}
