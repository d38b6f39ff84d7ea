//! Golden files, the comparer, and a device shared by the tests of one process.
#![allow(dead_code, reason = "every test binary uses a part of it")]

pub mod bench;
pub mod close;
pub mod conv;
pub mod dense;
pub mod fence;
pub mod fused;
pub mod gamma;
pub mod host_ops;
pub mod property;
pub mod resample;
pub mod shapes;
pub mod spatial;
pub mod twin;
pub mod unet;
pub mod window;

use asng_wgpu::gpu::{AdapterChoice, Gpu};
use asng_wgpu::ops::ConvVariant;
pub use close::{close, close_shaped};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// What a runner held of a golden file.
pub enum Covered {
    /// Everything but these parts, by name and reason.
    Except(Vec<String>),
    /// Nothing, for this reason.
    Nothing(String),
}

/// What a golden file's runner gives, or what went wrong.
pub type Outcome = Result<Covered, String>;

pub fn all() -> Outcome {
    except(vec![])
}

pub fn except(parts: Vec<String>) -> Outcome {
    Ok(Covered::Except(parts))
}

pub fn nothing(reason: impl Into<String>) -> Outcome {
    Ok(Covered::Nothing(reason.into()))
}

/// Errors of the library as text.
pub fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

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
    /// The folder that it lies in, where other files that it names lie too.
    pub folder: PathBuf,
    pub op: String,
    pub params: serde_json::Value,
    pub tol: serde_json::Value,
    tensors: HashMap<String, Array>,
    /// Names of the tensors that were asked for.
    read: Mutex<BTreeSet<String>>,
}

impl Golden {
    pub fn load(path: &Path) -> Result<Golden, String> {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let file = safetensors::SafeTensors::deserialize(&bytes).map_err(text)?;
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(text)?;
        let meta = header.metadata().clone().ok_or("no metadata")?;
        let string = |key: &str| meta.get(key).cloned().ok_or(format!("no '{key}'"));
        let json = |key: &str| -> Result<serde_json::Value, String> {
            serde_json::from_str(&string(key)?).map_err(|e| format!("'{key}': {e}"))
        };
        let mut tensors = HashMap::new();
        for (name, view) in file.tensors() {
            let shape = view.shape().to_vec();
            let (mut f32s, mut i32s) = (Vec::new(), Vec::new());
            match view.dtype() {
                safetensors::Dtype::F32 => f32s = bytemuck::pod_collect_to_vec(view.data()),
                safetensors::Dtype::I32 => i32s = bytemuck::pod_collect_to_vec(view.data()),
                other => return Err(format!("'{name}' is {other:?}, neither f32 nor i32")),
            }
            tensors.insert(name.to_string(), Array { shape, f32s, i32s });
        }
        Ok(Golden {
            name: path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
            folder: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            op: string("op")?,
            params: json("params")?,
            tol: json("tol")?,
            tensors,
            read: Mutex::default(),
        })
    }

    pub fn get(&self, name: &str) -> Result<&Array, String> {
        self.find(name).ok_or(format!("{}: no tensor '{name}'", self.name))
    }

    /// A tensor that files of this op may lack.
    pub fn find(&self, name: &str) -> Option<&Array> {
        let array = self.tensors.get(name)?;
        self.read.lock().unwrap().insert(name.to_owned());
        Some(array)
    }

    /// Names of the tensors that no runner asked for, sorted.
    pub fn unread(&self) -> Vec<String> {
        let read = self.read.lock().unwrap();
        let mut names: Vec<String> =
            self.tensors.keys().filter(|name| !read.contains(*name)).cloned().collect();
        names.sort();
        names
    }

    /// True where the file has such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of the tensors that begin so, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.tensors.keys().filter(|k| k.starts_with(prefix)).cloned().collect();
        names.sort();
        names
    }

    pub fn tolerance(&self, name: &str) -> Result<f64, String> {
        let entries = self.tol.as_object().ok_or("'tol' is no object")?;
        let most_specific = entries
            .iter()
            .filter(|(pattern, value)| value.is_number() && glob(pattern, name))
            .max_by_key(|(pattern, _)| (!pattern.contains('*'), pattern.len()));
        let all = || entries.get("all");
        most_specific
            .map(|(_, v)| v)
            .or_else(all)
            .and_then(serde_json::Value::as_f64)
            .ok_or(format!("no tolerance for '{name}'"))
    }

    /// Holds f32 values against a tensor of the file by the file's own tolerance.
    pub fn check(&self, name: &str, values: &[f32]) -> Result<(), String> {
        let array = self.get(name)?;
        close_shaped(name, values, &array.f32s, self.tolerance(name)?, &array.shape)
    }

    pub fn triple(&self, key: &str) -> Result<[u32; 3], String> {
        let list: Vec<u32> = self.list(key)?;
        list.try_into().map_err(|_| format!("'{key}' has not three entries"))
    }

    pub fn list(&self, key: &str) -> Result<Vec<u32>, String> {
        serde_json::from_value(self.params[key].clone()).map_err(|e| format!("'{key}': {e}"))
    }

    pub fn number(&self, key: &str) -> Result<f64, String> {
        self.params[key].as_f64().ok_or(format!("no number '{key}' in params"))
    }

    pub fn flag(&self, key: &str) -> Result<bool, String> {
        self.params[key].as_bool().ok_or(format!("no flag '{key}' in params"))
    }

    /// `Some(what)` where params hold another value than the one that the kernels have built in;
    /// a value that is not given counts as that one.
    pub fn differs(&self, key: &str, fixed: impl Into<serde_json::Value>) -> Option<String> {
        let (given, fixed) = (&self.params[key], fixed.into());
        let equal = given.is_null()
            || *given == fixed
            || given.as_f64().is_some_and(|v| Some(v) == fixed.as_f64());
        (!equal).then(|| format!("{key} = {given} (built in: {fixed})"))
    }

    /// The last three edges of a tensor.
    pub fn edges(&self, name: &str) -> Result<[u32; 3], String> {
        last3(&self.get(name)?.shape).ok_or(format!("'{name}' has fewer than three axes"))
    }
}

/// The last three edges of a shape.
pub fn last3(shape: &[usize]) -> Option<[u32; 3]> {
    let edges: &[usize; 3] = shape.last_chunk()?;
    Some(edges.map(|e| e as u32))
}

/// `*` stands for any run of characters.
fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter_map(|i| rest.get(i..)).any(|rest| glob(tail, rest))
        }),
    }
}

/// Folder of the golden files, `ASNG_WGPU_GOLDEN` or the project's own; and whether it is the
/// project's own.
pub fn golden_folder() -> (PathBuf, bool) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    match std::env::var_os("ASNG_WGPU_GOLDEN").filter(|folder| !folder.is_empty()) {
        None => (own, true),
        Some(folder) => {
            let folder = PathBuf::from(folder);
            let same = folder.canonicalize().ok() == own.canonicalize().ok();
            (folder, same)
        }
    }
}

/// True where a file of much work should leave a variant out: on software adapters all variants
/// but the preferred one are slow, and small files hold them too. `ASNG_WGPU_HEAVY=1` runs all.
pub fn too_heavy(variant: ConvVariant) -> bool {
    let caps = gpu().caps();
    let preferred = ConvVariant::available(caps)[0];
    caps.cpu && variant != preferred && std::env::var_os("ASNG_WGPU_HEAVY").is_none()
}

/// Why, for what [`too_heavy`] leaves out.
pub const HEAVY: &str = "slow in this variant on a software adapter; see ASNG_WGPU_HEAVY";

/// A device with bounds checks in its shaders.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        Gpu::open(&AdapterChoice::default(), true)
            .expect("the tests need a Vulkan, Metal or DX12 device")
    })
}

/// Inputs that golden files describe by a counter hash instead of storing them; also the random
/// numbers of the other tests, in \[-1, 1) * 2^log2scale.
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

/// A generated input of a golden file, held against the first values that the file stores.
pub fn generated_input(golden: &Golden, name: &str, count: usize) -> Result<Vec<f32>, String> {
    let number = |key: &str| {
        golden.params[key][name].as_i64().ok_or(format!("no '{key}' for '{name}' in params"))
    };
    let values = generated(number("hash_seed")? as u32, number("hash_log2scale")? as i32, count);
    if let Some(head) = golden.find(&format!("{name}_head")) {
        let count = head.f32s.len().min(values.len());
        close(&format!("{name}_head"), &values[..count], &head.f32s[..count], 0.0)?;
    }
    Ok(values)
}

/// Sampled values and sums of a tensor that golden files do not store whole.
pub fn close_sampled(golden: &Golden, name: &str, tol: f64, a: &[f32]) -> Result<(), String> {
    let index = &golden.get(&format!("{name}_idx"))?.i32s;
    let picked: Option<Vec<f32>> = index.iter().map(|&i| a.get(i as usize).copied()).collect();
    let picked = picked.ok_or(format!("{name}_idx lies beyond {} values", a.len()))?;
    close(name, &picked, &golden.get(&format!("{name}_val"))?.f32s, tol)?;
    let sums = &golden.get(&format!("{name}_sums"))?.f32s;
    let absolute: f64 = a.iter().map(|v| f64::from(v.abs())).sum();
    let squares: f64 = a.iter().map(|&v| f64::from(v).powi(2)).sum();
    close(&format!("{name}: sum of magnitudes"), &[absolute as f32], &sums[1..2], 1e-4)?;
    close(&format!("{name}: sum of squares"), &[squares as f32], &sums[2..3], 1e-4)
}
