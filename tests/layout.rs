//! One stem per kernel: a family of shaders has its op and its CPU twin under the same name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Copying has no mathematics that a twin could repeat.
const WITHOUT_TWIN: [&str; 1] = ["stage"];

/// What only benches dispatch: the device's limits, no ops.
const WITHOUT_OP: [&str; 1] = ["limit"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Names of the folders below `shaders/`.
fn families() -> BTreeSet<String> {
    std::fs::read_dir(root().join("shaders"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// True where a module of that name exists below a folder of modules and is declared.
fn has_module(folder: &Path, name: &str) -> bool {
    let text = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    let file = folder.join(format!("{name}.rs"));
    let exists = file.is_file() || folder.join(name).join("mod.rs").is_file();
    exists && text.lines().any(|line| line == format!("pub mod {name};"))
}

#[test]
fn every_family_of_shaders_has_its_op_and_its_twin() {
    let families = families();
    assert!(families.len() > 5, "{families:?}");
    let mut missing = Vec::new();
    for name in &families {
        for layer in ["ops", "reference"] {
            let name = name.as_str();
            let exempt = WITHOUT_OP.contains(&name)
                || (layer == "reference" && WITHOUT_TWIN.contains(&name));
            if !exempt && !has_module(&root().join("src").join(layer), name) {
                missing.push(format!("src/{layer}/{name}.rs for shaders/{name}"));
            }
        }
    }
    assert!(missing.is_empty(), "missing: {}", missing.join(", "));
}

#[test]
fn every_twin_has_its_shaders() {
    let families = families();
    for entry in std::fs::read_dir(root().join("src/reference")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(name == "mod" || families.contains(&name), "no shaders/{name} for its twin");
    }
}
