//! Texts that are compared with files of `tests/snapshots`.

use std::path::Path;

/// Compares with a stored file, or writes it if ASNG_WGPU_SNAPSHOTS=write.
pub fn snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    match std::env::var("ASNG_WGPU_SNAPSHOTS").as_deref() {
        Ok("write") => std::fs::write(&path, text).unwrap(),
        Ok("") | Err(_) => {}
        Ok(other) => panic!("ASNG_WGPU_SNAPSHOTS={other}; it knows only 'write'"),
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    let (old, new): (Vec<&str>, Vec<&str>) = (stored.lines().collect(), text.lines().collect());
    let gone: Vec<&&str> = old.iter().filter(|line| !new.contains(line)).collect();
    let came: Vec<&&str> = new.iter().filter(|line| !old.contains(line)).collect();
    assert!(
        stored == text,
        "{name} differs; ASNG_WGPU_SNAPSHOTS=write writes it again\nstored: {gone:#?}\nnow: {came:#?}"
    );
}
