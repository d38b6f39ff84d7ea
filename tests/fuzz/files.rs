//! Files of every kind that a command reads, damaged, through the function that the command uses.

use crate::common_cli::run_folder;
use crate::count;
use crate::memory::peak_of;
use crate::mutate::Mutator;
use asng_wgpu::Error;
use asng_wgpu::data::Axes;
use asng_wgpu::data::check::check;
use asng_wgpu::data::demo::{DemoKind, DemoSize, write_demo};
use asng_wgpu::data::nifti::{Header, read_header, read_image, read_labels, write_image};
use asng_wgpu::data::patients::patients;
use asng_wgpu::data::preprocess::{PrepareOptions, prepare, prepare_image};
use asng_wgpu::data::{Dataset, Preprocessing, split};
use asng_wgpu::infer::cross_validate::read_summary;
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::warp::Interpolation;
use asng_wgpu::preview::{PreviewOptions, preview};
use asng_wgpu::run::{RunConfig, State, find_state, read_weights, state_paths, write_state};
use asng_wgpu::search::distribution::Categorical;
use asng_wgpu::search::export::{ExportOptions, Library, python};
use asng_wgpu::search::file::PolicyFile;
use asng_wgpu::search::log::{self, PolicyLine};
use asng_wgpu::search::policy::Policy;
use asng_wgpu::search::space::Space;
use asng_wgpu::train::PlanFile;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where a reader reads, and what came of it.
struct Target {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Target {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        Target { folder, file }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

type Outcome = Result<(), Error>;

/// Damages a file again and again, and reads it. `most_bytes` bounds the memory by the file's bytes.
fn try_all(
    what: &str,
    number: u64,
    target: &Target,
    damage: impl Fn(&mut Mutator) -> Vec<u8>,
    most_bytes: impl Fn(&[u8]) -> u64,
    read: impl Fn() -> Outcome,
) {
    let (mut accepted, mut refused, mut most, mut slowest) = (0, 0, 0, Duration::ZERO);
    for n in 0..number {
        let bytes = damage(&mut Mutator::new(what.len() as u64, n));
        std::fs::write(&target.file, &bytes).unwrap();
        let begin = Instant::now();
        let work = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(&read));
        let (outcome, peak) = peak_of(work);
        let kept = std::env::temp_dir().join(format!("fuzz-{what}"));
        let keep = || std::fs::write(&kept, &bytes).unwrap();
        let Ok(outcome) = outcome else {
            keep();
            panic!("{what} {n}: a panic; the file is {}", kept.display());
        };
        let took = begin.elapsed();
        if took > Duration::from_secs(20) || peak > most_bytes(&bytes) {
            keep();
            let (len, bound) = (bytes.len(), most_bytes(&bytes));
            panic!(
                "{what} {n}: {took:?}, {peak} bytes for a file of {len}, where {bound} are allowed; \
                 the file is {}",
                kept.display()
            );
        }
        (most, slowest) = (peak.max(most), took.max(slowest));
        match outcome {
            Ok(()) => accepted += 1,
            Err(error) => {
                refused += 1;
                let text = error.sentence();
                assert!(text.len() > 20 && text.len() < 50_000, "{what} {n}: '{text}'");
            }
        }
    }
    assert!(refused > 0, "{what}: no damage was noticed");
    eprintln!(
        "{what}: {accepted} accepted, {refused} refused, at most {most} bytes and {slowest:?}"
    );
}

/// A reader of texts may hold a few times its file, as a tree of values.
fn texts(bytes: &[u8]) -> u64 {
    (4 << 20) + 200 * bytes.len() as u64
}

/// A reader of volumes may hold what the header announces, twice while the list grows, as far as
/// the file can hold that.
fn volumes(file: &Path) -> impl Fn(&[u8]) -> u64 {
    let file = file.to_owned();
    move |bytes| {
        let announced = read_header(&file).map_or(0, |h| h.values() as u64);
        (4 << 20) + 8 * announced.min(1040 * bytes.len() as u64)
    }
}

const EDGES: [usize; 3] = [5, 6, 7];

fn volume(name: &str) -> Target {
    let target = Target::new(name);
    let data: Vec<f32> = (0..EDGES.iter().product::<usize>()).map(|i| (i % 4) as f32).collect();
    let mut header = Header::plain(EDGES, [2.0, 1.0, 1.0]);
    header.scaling = (1.0, 0.0);
    write_image(&target.file, &data, 1, EDGES, &header).unwrap();
    target
}

#[test]
fn damaged_volumes() {
    let by = Preprocessing {
        spacing_mm: [1.0; 3],
        reorient: true,
        axes: [1, 0, 2],
        nonzero_mask: true,
        ct: Vec::new(),
        normalisation: Vec::new(),
    };
    let each = count(2400) / 3;
    let plain = volume("plain.nii");
    let bytes = std::fs::read(&plain.file).unwrap();
    let file = plain.file.as_path();
    let read = || {
        let image = read_image(file).map(drop);
        image.and(read_labels(file).map(drop))
    };
    // Mostly the header, which is a tenth of the file.
    let damage = |m: &mut Mutator| {
        let mut damaged = m.bytes(bytes[..348].to_vec());
        damaged.extend_from_slice(&bytes[348..]);
        damaged
    };
    try_all("header", each, &plain, damage, volumes(file), read);
    let prepared = || prepare_image(&[file.to_owned()], 1, &by).map(drop);
    try_all("prepared", each, &plain, damage, |_| 2 << 30, prepared);
    let packed = volume("packed.nii.gz");
    let bytes = std::fs::read(&packed.file).unwrap();
    let file = packed.file.as_path();
    let read = || {
        let image = read_image(file).map(drop);
        image.and(read_labels(file).map(drop))
    };
    let damage = |m: &mut Mutator| m.bytes(bytes.clone());
    try_all("gzip", each, &packed, damage, volumes(file), read);
}

#[test]
fn a_stream_that_inflates_beyond_its_header_stops_there() {
    use std::io::Write;
    let target = volume("bomb.nii.gz");
    let mut plain = Vec::new();
    let packed = std::fs::File::open(&target.file).unwrap();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut plain).unwrap();
    let out = std::fs::File::create(&target.file).unwrap();
    let mut out = flate2::write::GzEncoder::new(out, flate2::Compression::best());
    out.write_all(&plain).unwrap();
    for _ in 0..256 {
        out.write_all(&vec![0; 1 << 20]).unwrap();
    }
    out.finish().unwrap();
    let begin = Instant::now();
    let (image, peak) = peak_of(|| read_image(&target.file));
    assert_eq!(image.unwrap().data.len(), EDGES.iter().product::<usize>());
    assert!(peak < 4 << 20, "{peak} bytes");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    // A header that announces more than any file holds is refused before memory is taken.
    for edges in [[32767i16; 3], [1290, 1290, 1290], [32767, 32767, 1]] {
        let mut lying = plain.clone();
        for (axis, edge) in edges.into_iter().enumerate() {
            lying[42 + 2 * axis..44 + 2 * axis].copy_from_slice(&edge.to_le_bytes());
        }
        let file = target.path().join("huge.nii");
        std::fs::write(&file, lying).unwrap();
        let (image, peak) = peak_of(|| read_image(&file));
        assert!(image.unwrap_err().to_string().contains("huge.nii"));
        assert!(peak < 1 << 20, "{peak} bytes");
    }
}

#[test]
fn damaged_data_sets() {
    let target = Target::new("data/dataset.json");
    let data = target.path().join("data");
    std::fs::remove_dir(&data).unwrap();
    write_demo(&data, DemoKind::Heart, DemoSize::Small, 3, 0).unwrap();
    let json = std::fs::read_to_string(&target.file).unwrap();
    let each = count(2400) / 3;
    let open = || Dataset::open(&data).map(drop);
    try_all("dataset-json", each, &target, |m| m.text(&json), texts, open);
    let second = r#"{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "x": 1},
        "numTraining": 1, "file_ending": ".nii.gz", "dataset": {"heart_001": {"images":
        ["imagesTr/heart_001.nii.gz"], "label": "labelsTr/heart_001.nii.gz"}}}"#;
    try_all("dataset-json-v2", each, &target, |m| m.text(second), texts, open);
    // The whole check, which must find something to say of everything.
    let whole = || match check(&data, 1, &|_, _, _| ()) {
        Ok(report) if report.errors == 0 => Ok(()),
        Ok(report) => {
            Err(Error::Input(report.findings[0].message.clone() + "                    "))
        }
        Err(error) => Err(error),
    };
    try_all("check", each / 8, &target, |m| m.text(&json), |_| 64 << 20, whole);
}

#[test]
fn damaged_splits_and_patients() {
    let names: Vec<String> = (0..6).map(|i| format!("case_{i}")).collect();
    let each = count(2400) / 3;
    let splits = Target::new("splits_final.json");
    let folds = split::default_folds(&names).unwrap();
    let text = serde_json::to_string_pretty(&folds).unwrap();
    let read = || split::folds_from(&splits.file, &names).map(drop);
    // A sentence a fault, and there may be one a name.
    try_all("splits", each, &splits, |m| m.text(&text), texts, read);
    let csv: String = names.iter().map(|n| format!("{n},\"patient {n}\"\n")).collect();
    let table = Target::new("patients.csv");
    let read = || patients(table.path(), &names).map(drop);
    try_all("patients-csv", each, &table, |m| m.text(&csv), texts, read);
    let map: serde_json::Map<String, serde_json::Value> =
        names.iter().map(|n| (n.clone(), 7.into())).collect();
    let json = serde_json::to_string(&map).unwrap();
    let object = Target::new("patients.json");
    let read = || patients(object.path(), &names).map(drop);
    try_all("patients-json", each, &object, |m| m.text(&json), texts, read);
}

#[test]
fn damaged_policies() {
    let each = count(3200) / 4;
    let space = Space::default();
    let file = PolicyFile {
        version: asng_wgpu::search::file::VERSION,
        theta: Some(Categorical::uniform(&space.counts())),
        policy: Policy::nnunet(),
        space: space.clone(),
        dataset: "demo".into(),
        seed: 3,
        run: "demo".into(),
    };
    let policy = Target::new("policy.json");
    file.write(&policy.file).unwrap();
    let text = std::fs::read_to_string(&policy.file).unwrap();
    let read = || {
        let file = PolicyFile::read(&policy.file)?;
        file.sample(3, 4);
        let options = ExportOptions {
            interpolation: Interpolation::default(),
            mirror: Axes::ALL,
            keep_zero: false,
            axes: [0, 1, 2],
            reorient: false,
            dummy_2d: false,
        };
        python(&file, Library::Monai, options).map(drop)
    };
    let exporting = |bytes: &[u8]| (64 << 20) + 200 * bytes.len() as u64;
    try_all("policy", each, &policy, |m| m.text(&text), exporting, read);
    for (name, text) in [
        ("space.json", serde_json::to_string_pretty(&space).unwrap()),
        ("space.toml", toml::to_string(&space).unwrap()),
    ] {
        let target = Target::new(name);
        let read = || Space::from_file(&target.file).map(drop);
        try_all(name, each, &target, |m| m.text(&text), texts, read);
    }
    let line = PolicyLine {
        epoch: 0,
        theta: file.theta.clone(),
        delta: Some(1.0),
        s_norm2: Some(0.5),
        mean_entropy: Some(2.0),
        policy: Policy::nnunet(),
        val_loss_mean: Some(0.3),
        val_loss_difference: None,
        skipped_share: 0.0,
        weight_ms: 1.0,
        policy_ms: 2.0,
        augment_ms: 3.0,
    };
    let history = Target::new("policy.jsonl");
    let text = format!("{}\n", serde_json::to_string(&line).unwrap()).repeat(3);
    let read = || log::read(&history.file).map(drop);
    try_all("history", each, &history, |m| m.text(&text), texts, read);
}

#[test]
fn damaged_runs() {
    let each = count(2500) / 5;
    let target = Target::new("data/x");
    let data = target.path().join("data");
    std::fs::remove_dir(&data).unwrap();
    write_demo(&data, DemoKind::Heart, DemoSize::Small, 2, 0).unwrap();
    let run = target.path().join("run");
    run_folder(&run, &data, &[0], [16; 3]);
    let config = Target::new("config.json");
    let text = std::fs::read_to_string(run.join("config.json")).unwrap();
    let read = || RunConfig::read(config.path()).map(drop);
    try_all("config", each, &config, |m| m.text(&text), texts, read);
    let weights = Target::new("weights.safetensors");
    let bytes = std::fs::read(run.join("fold_0/checkpoint_final.safetensors")).unwrap();
    let read = || read_weights(&weights.file).map(drop);
    // The file, its tensors, and the list of values.
    let held = |bytes: &[u8]| (4 << 20) + 8 * bytes.len() as u64;
    let damage = |m: &mut Mutator| {
        // Half of the damage to the header.
        let cut = if m.below(2) == 0 { bytes.len() } else { 4000 };
        let mut damaged = m.bytes(bytes[..cut].to_vec());
        damaged.extend_from_slice(&bytes[cut..]);
        damaged
    };
    try_all("weights", each, &weights, damage, held, read);
    let plan = NetworkPlan::from_spacing(1, 2, 4, [16; 3], 1, [1.0; 3], 2);
    let net = UNet::new(plan.clone());
    let values = net.parameters.initial(1);
    // Files of older versions have no checksum, so that a plan of any network is believed.
    let old = Target::new("old.safetensors");
    let text = serde_json::to_string(&plan).unwrap();
    let damage = |m: &mut Mutator| {
        let plan = String::from_utf8_lossy(&m.text(&text)).into_owned();
        let bytes: Vec<Vec<u8>> = net
            .parameters
            .iter()
            .map(|p| &values[p.offset as usize..(p.offset + p.len()) as usize])
            .map(|values| values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = net.parameters.iter().zip(&bytes).map(|(p, bytes)| {
            use safetensors::tensor::{Dtype, TensorView};
            let shape = p.shape.iter().map(|&e| e as usize).collect();
            (p.name.clone(), TensorView::new(Dtype::F32, shape, bytes).unwrap())
        });
        safetensors::serialize(views, Some([("plan".to_owned(), plan)].into())).unwrap()
    };
    let read = || read_weights(&old.file).map(drop);
    try_all("old-weights", each, &old, damage, held, read);
    let state = State { weights: values.clone(), moments: Vec::new(), record: "{}".into() };
    let states = Target::new("fold_0/checkpoint_last.safetensors");
    write_state(states.path(), 0, &net, &state, 1).unwrap();
    let [last, previous] = state_paths(states.path(), 0);
    let whole = std::fs::read(&last).unwrap();
    std::fs::copy(&last, &previous).unwrap();
    // A damaged state is named and passed over, as there is an earlier one.
    let read = || {
        let mut named = Ok(());
        find_state(states.path(), 0, &mut |note| named = Err(Error::Input(note.to_string())))?;
        named
    };
    let damage = |m: &mut Mutator| m.bytes(whole.clone());
    try_all("state", each, &states, damage, |bytes| held(bytes) + (1 << 20), read);
    let file = Target::new("plan.json");
    let plan = serde_json::json!({
        "version": 1, "dataset": "heart", "cases": 2, "median_shape": [40, 48, 40],
        "preprocessing": {"spacing_mm": [1.0, 1.0, 1.0], "nonzero_mask": false, "ct": []},
        "network": plan, "parameters": 4788, "adapter": "x", "memory_bytes": 1000,
        "seconds_per_iteration": 0.5, "iterations": 250, "epochs": 200,
    });
    let text = serde_json::to_string_pretty(&plan).unwrap();
    let read = || PlanFile::read(&file.file).map(drop);
    try_all("plan", each, &file, |m| m.text(&text), texts, read);
    let summary = Target::new("summary.json");
    let text = r#"{"foreground_mean": {"Dice": 0.9, "HD95": NaN}, "mean": {"1": {"Dice": 0.9}},
        "metric_per_case": [{"metrics": {"1": {"Dice": 0.9, "TP": 12}}, "prediction_file":
        "p/a.nii.gz", "reference_file": "r/a.nii.gz"}]}"#;
    let read = || read_summary(&summary.file).map(drop);
    try_all("summary", each, &summary, |m| m.text(text), texts, read);
}

#[test]
fn damaged_draws() {
    let draws = Target::new("draws.json");
    let image = volume("image.nii.gz");
    let text = serde_json::to_string_pretty(&serde_json::json!({
        "version": 2, "case": "image", "seed": 0,
        "policy": {"source": "default", "sampled": false, "changed_by_flags": false},
        // Of another volume, so that no device is opened for what is whole.
        "input": {"channels": 1, "shape": [5, 6, 8]},
        "preprocessing": {"spacing_mm": [2.0, 1.0, 1.0], "nonzero_mask": false, "ct": []},
        "dummy_2d": false, "patch_start": [0, 0, 0], "patch": [5, 6, 7],
        "draws": [{"image": "a_00.nii.gz", "draw": {
            "mirror": [false, true, false], "rotation": [0.1, 0.2, 0.3], "scale": 1.1,
            "elastic": {"alpha": 100.0, "sigma": 9.0, "key": 4}, "gamma": [1.1]}}],
    }))
    .unwrap();
    let options = PreviewOptions {
        input: image.file.clone(),
        case: None,
        label: None,
        output: draws.path().join("out"),
        replay: Some(draws.file.clone()),
        count: 1,
        seed: 0,
        policy: None,
        fold: None,
        values: Vec::new(),
        patch: None,
        mirror: None,
        interpolation: None,
        label_interpolation: None,
        channel: 0,
        adapter: Default::default(),
        checked_shaders: true,
    };
    let read = || preview(&options, &mut |_| ()).map(drop);
    try_all("draws", count(2400) / 3, &draws, |m| m.text(&text), |_| 2 << 30, read);
    assert!(!options.output.exists());
}

#[test]
fn damaged_caches_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_demo(&data, DemoKind::Heart, DemoSize::Small, 2, 0).unwrap();
    let dataset = Dataset::open(&data).unwrap();
    let cache = folder.path().join("cache");
    let options = PrepareOptions { threads: 1, cache: Some(cache.clone()), ..Default::default() };
    let whole = prepare(&dataset, &dataset.cases, &options, &mut |_| ()).unwrap();
    assert!(whole.remade.is_empty());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 3);
    for n in 0..count(60) / 30 {
        for file in &files {
            let bytes = std::fs::read(file).unwrap();
            let mut mutator = Mutator::new(9, n);
            let damaged = mutator.bytes(bytes.clone());
            std::fs::write(file, &damaged).unwrap();
            let again = prepare(&dataset, &dataset.cases, &options, &mut |_| ()).unwrap();
            assert!(again.remade.len() <= usize::from(damaged != bytes), "{n}");
            assert_eq!(again.fingerprint, whole.fingerprint);
            assert_eq!(again.cases.len(), whole.cases.len());
            for (a, b) in whole.cases.iter().zip(&again.cases) {
                assert!(*a.voxels().unwrap() == *b.voxels().unwrap());
            }
            let whole_again = prepare(&dataset, &dataset.cases, &options, &mut |_| ()).unwrap();
            assert!(whole_again.remade.is_empty());
        }
    }
}
