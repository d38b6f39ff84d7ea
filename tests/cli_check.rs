//! `check` of the real binary: a data set with every fault at once, and sound ones.

mod common_cli;

use asng_wgpu::data::Dataset;
use asng_wgpu::data::check::quick;
use asng_wgpu::data::nifti::{Header, write_image, write_labels};
use common_cli::Folder;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// D, H, W of most cases.
const SHAPE: [usize; 3] = [4, 5, 6];

fn plain() -> Header {
    Header::plain(SHAPE, [2.0, 1.0, 1.0])
}

/// A data set of two channels under construction.
struct Made {
    dir: PathBuf,
    names: Vec<String>,
}

impl Made {
    fn new(dir: PathBuf) -> Self {
        for folder in ["imagesTr", "labelsTr", "imagesTs"] {
            std::fs::create_dir_all(dir.join(folder)).unwrap();
        }
        Made { dir, names: Vec::new() }
    }

    fn image(&self, name: &str, channel: usize) -> PathBuf {
        self.dir.join(format!("imagesTr/{name}_{channel:04}.nii.gz"))
    }

    fn label(&self, name: &str) -> PathBuf {
        self.dir.join(format!("labelsTr/{name}.nii.gz"))
    }

    /// Values that no other `seed` has.
    fn values(seed: usize) -> Vec<f32> {
        let n = SHAPE.iter().product::<usize>();
        (0..n).map(|i| ((i * 31 + seed * 7919) % 1009) as f32).collect()
    }

    /// A sound case on the grid of `header`, which has 4 x 5 x 6 voxels.
    fn case(&mut self, name: &str, header: &Header) {
        let seed = self.names.len() + 1;
        for channel in 0..2 {
            self.channel(name, channel, &Self::values(2 * seed + channel), header);
        }
        let mut labels = vec![0u16; SHAPE.iter().product()];
        labels[seed] = 1;
        labels[seed + 40..seed + 43].fill(2);
        write_labels(&self.label(name), &labels, SHAPE, header).unwrap();
        self.names.push(name.to_string());
    }

    fn channel(&self, name: &str, channel: usize, values: &[f32], header: &Header) {
        write_image(&self.image(name, channel), values, 1, header.shape(), header).unwrap();
    }

    fn json(&self, labels: &str, more: &str) {
        let entry = |n: &String| {
            format!(r#"{{"image":"./imagesTr/{n}.nii.gz","label":"./labelsTr/{n}.nii.gz"}}"#)
        };
        let mut entries: Vec<String> = self.names.iter().map(entry).collect();
        entries.extend((!more.is_empty()).then(|| more.to_string()));
        let text = format!(
            r#"{{"modality":{{"0":"T1","1":"T2"}},"labels":{labels},"numTraining":{},"training":[{}]}}"#,
            self.names.len(),
            entries.join(",")
        );
        std::fs::write(self.dir.join("dataset.json"), text).unwrap();
    }
}

/// The two labels of sound data.
const LABELS: &str = r#"{"0":"background","1":"core","2":"rim"}"#;

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 30]).unwrap();
}

/// Every fault that there is, one a case where it is of a case.
fn with_every_fault(dir: PathBuf) {
    let mut d = Made::new(dir);
    let header = plain();
    let voxels = SHAPE.iter().product::<usize>();
    d.case("a", &header);
    d.case("copy", &header);
    for channel in 0..2 {
        std::fs::copy(d.image("a", channel), d.image("copy", channel)).unwrap();
    }
    d.case("missing", &header);
    std::fs::remove_file(d.label("missing")).unwrap();
    d.case("cut", &header);
    cut(&d.image("cut", 1));
    d.case("junk", &header);
    std::fs::write(d.label("junk"), b"no image at all").unwrap();
    d.case("shape", &header);
    let less = Header::plain([4, 5, 5], [2.0, 1.0, 1.0]);
    let labels: Vec<u16> = (0..100).map(|i| i % 3).collect();
    write_labels(&d.label("shape"), &labels, [4, 5, 5], &less).unwrap();
    let relabel = |name: &str, change: &dyn Fn(&mut Header, &mut Vec<u16>)| {
        let (mut h, mut labels) = (plain(), vec![0u16; voxels]);
        // Each its own, so that no two label maps are equal.
        let own = name.bytes().map(usize::from).sum::<usize>() % 60;
        labels[own..own + 4].fill(1);
        labels[70..80].fill(2);
        change(&mut h, &mut labels);
        write_labels(&d.label(name), &labels, SHAPE, &h).unwrap();
    };
    relabel("spacing", &|h, _| {
        h.pixdim[1] = 1.5;
        h.srow[0][0] = 1.5;
    });
    relabel("flipped", &|h, _| {
        h.srow[0] = [-1.0, 0.0, 0.0, 0.0];
        h.qform_code = 0;
    });
    relabel("shifted", &|h, _| {
        h.srow[2][3] = 3.0;
        h.qoffset[2] = 3.0;
    });
    relabel("seven", &|_, l| l[100..104].fill(7));
    relabel("empty", &|_, l| l.fill(0));
    for name in ["spacing", "flipped", "shifted", "seven", "empty"] {
        let label = std::fs::read(d.label(name)).unwrap();
        d.case(name, &header);
        std::fs::write(d.label(name), label).unwrap();
    }
    d.case("half", &header);
    let mut halves: Vec<f32> = vec![0.0; voxels];
    halves[3..6].fill(0.5);
    halves[9] = 1.0;
    write_image(&d.label("half"), &halves, 1, SHAPE, &header).unwrap();
    d.case("two", &header);
    write_image(&d.label("two"), &vec![1.0; 2 * voxels], 2, SHAPE, &header).unwrap();
    d.case("nan", &header);
    let mut values = Made::values(500);
    (values[8], values[9]) = (f32::NAN, f32::INFINITY);
    d.channel("nan", 0, &values, &header);
    d.case("flat", &header);
    for channel in 0..2 {
        d.channel("flat", channel, &vec![3.0; voxels], &header);
    }
    d.case("grids", &header);
    d.channel("grids", 1, &Made::values(600)[..100], &less);
    d.case("equal", &header);
    std::fs::copy(d.image("equal", 0), d.image("equal", 1)).unwrap();
    d.case("three", &header);
    for channel in 0..2 {
        std::fs::remove_file(d.image("three", channel)).unwrap();
    }
    let three = (700..703).flat_map(Made::values).collect::<Vec<_>>();
    write_image(&d.dir.join("imagesTr/three.nii.gz"), &three, 3, SHAPE, &header).unwrap();
    let mut conflict = plain();
    conflict.qoffset[0] = 50.0;
    d.case("forms", &conflict);
    let mut las = plain();
    (las.srow[0][0], las.qform_code) = (-1.0, 0);
    d.case("las", &las);
    d.case("coarse", &Header::plain(SHAPE, [2.0, 5.0, 1.0]));
    d.case("same", &header);
    std::fs::copy(d.label("a"), d.label("same")).unwrap();
    d.channel("unlisted", 0, &Made::values(800), &header);
    for channel in 0..2 {
        let to = d.dir.join(format!("imagesTs/test_{channel:04}.nii.gz"));
        std::fs::copy(d.image("a", channel), to).unwrap();
    }
    let labels = r#"{"0":"background","1":"left kidney","2":"right kidney","4":"cyst"}"#;
    d.json(labels, r#"{"image":"./imagesTr/x.nii.gz"},{"image":"/x.nii","label":"./l.nii"}"#);
    let splits = r#"[{"train":["a","same"],"val":["copy","las.nii.gz"]},{"train":["a"],"val":[]}]"#;
    std::fs::write(d.dir.join("splits_final.json"), splits).unwrap();
    let patients: Vec<String> = d.names.iter().map(|n| format!("{n},{n}\n")).collect();
    let patients = patients.concat().replace("same,same", "same,copy");
    std::fs::write(d.dir.join("patients.csv"), format!("case,patient\n{patients}")).unwrap();
}

/// Severity, kind and case or file of everything in [`with_every_fault`].
const ALL: [(&str, &str, &str); 31] = [
    ("error", "dataset_json", "dataset.json"), // an entry without label
    ("error", "dataset_json", "dataset.json"), // a path out of the folder
    ("error", "missing_file", "missing"),
    ("error", "unreadable_file", "cut"),
    ("error", "unreadable_file", "junk"),
    ("error", "shape", "shape"),
    ("error", "spacing", "spacing"),
    ("error", "direction", "flipped"),
    ("error", "origin", "shifted"),
    ("error", "label_value", "seven"),
    ("error", "label_not_whole", "half"),
    ("error", "label_channels", "two"),
    ("error", "not_finite", "nan"),
    ("error", "constant", "flat"),
    ("error", "channels", "grids"),
    ("error", "channels", "three"),
    ("error", "leak", "copy"),
    ("error", "splits", "splits_final.json"), // a name with ending
    ("warning", "no_foreground", "empty"),
    ("warning", "unused_label", ""),
    ("warning", "label_suggestion", ""),
    ("warning", "sides", ""),
    ("warning", "geometry", "imagesTr/forms_0000.nii.gz"),
    ("warning", "orientation", ""),
    ("warning", "spacing_outlier", ""),
    ("warning", "channels", "equal"),
    ("warning", "duplicate", "a"), // images
    ("warning", "duplicate", "a"), // label maps
    ("warning", "leak", "test"),
    ("warning", "patients", ""),
    ("warning", "unused_file", ""),
];

#[test]
fn every_fault_is_found_in_one_pass() {
    let f = Folder::new();
    with_every_fault(f.path("data"));
    let done = f.run(&["check", "data", "--json", "--threads", "2"]);
    assert_eq!(done.code, 1, "{}", done.all());
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["version"], 1);
    let mut found: Vec<(String, String, String)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| {
            let text = |key: &str| v[key].as_str().unwrap_or_default().to_string();
            assert!(!text("message").is_empty() && !text("remedy").is_empty(), "{v}");
            let place = if v["case"].is_null() { text("file") } else { text("case") };
            (text("severity"), text("kind"), place)
        })
        .collect();
    let mut want: Vec<(String, String, String)> =
        ALL.iter().map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())).collect();
    found.sort();
    want.sort();
    assert_eq!(found, want, "{}", done.stdout);
    assert_eq!((&report["errors"], &report["warnings"]), (&18.into(), &13.into()));
    let summary = &report["summary"];
    assert_eq!((&summary["cases"], &summary["test_cases"]), (&22.into(), &1.into()));
    assert_eq!(summary["spacing_mm"]["max"], serde_json::json!([2.0, 5.0, 1.0]));
    assert_eq!(summary["orientations"], serde_json::json!({"RAS": 21, "LAS": 1}));
    let labels = summary["labels"].as_array().unwrap();
    let seven = labels.iter().find(|l| l["value"] == 7).unwrap();
    assert_eq!(
        (&seven["voxels"], &seven["cases"], &seven["name"]),
        (&4.into(), &1.into(), &Value::Null)
    );
    assert_eq!(summary["label_suggestion"]["labels"]["7"], "cyst");
    assert!(done.stderr.contains("18 errors and 13 warnings"), "{}", done.all());
}

#[test]
fn the_table_has_a_line_a_finding() {
    let f = Folder::new();
    with_every_fault(f.path("data"));
    let done = f.run(&["check", "data"]);
    assert_eq!(done.code, 1, "{}", done.all());
    let lines = |word: &str| done.stdout.lines().filter(|l| l.starts_with(word)).count();
    assert_eq!((lines("error "), lines("warning ")), (18, 13), "{}", done.all());
    for words in [
        &["error ", "labelsTr/seven.nii.gz", "7 in 4 voxel(s), first at voxel (x 4, y 1, z 3)"][..],
        &[
            "error ",
            "imagesTr/nan_0000.nii.gz",
            "2 voxels of NaN or infinity",
            "NaN at voxel (x 2, y 1, z 0)",
        ],
        &["error ", "imagesTr/cut_0001.nii.gz", "is truncated"],
        &["error ", "labelsTr/flipped.nii.gz", "direction RAS against LAS"],
        &["error ", "copy", "trains on 'a' and validates on 'copy'"],
        &["error ", "splits_final.json", "'las.nii.gz'", "it has 'las'"],
        &["warning ", "hold the values 0, 1, 2, 7", r#""7": "cyst""#],
        &["warning ", "RAS 21, LAS 1", "--reorient ras"],
        &["warning ", "'left kidney'", "--no-mirror"],
        &["warning ", "imagesTr/forms_0000.nii.gz", "as 2 more files do", "sform is used"],
        &["7", "not listed"],
    ] {
        let holds = |l: &str| words.iter().all(|w| l.contains(w)) && l.starts_with(words[0]);
        assert!(done.stdout.lines().any(holds), "{words:?} in {}", done.all());
    }
    assert!(!done.stderr.contains("panicked"), "{}", done.all());
}

#[test]
fn sound_data_and_mere_warnings_pass() {
    let f = Folder::new();
    for kind in ["heart", "prostate", "brain"] {
        f.demo_as(kind, 4, kind);
        let done = f.ok(&["check", kind, "--json"]);
        let report: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(
            (&report["errors"], &report["warnings"]),
            (&0.into(), &0.into()),
            "{}",
            done.all()
        );
        assert!(f.ok(&["check", kind]).stderr.contains("no errors and no warnings"));
    }
    let mut d = Made::new(f.path("data"));
    let mut las = plain();
    (las.srow[0][0], las.qform_code) = (-1.0, 0);
    d.case("a", &plain());
    d.case("b", &las);
    d.json(LABELS, "");
    let done = f.ok(&["check", "data"]);
    assert!(done.stderr.contains("no errors and 2 warnings"), "{}", done.all());
    // Quiet is quiet, and results stay.
    let quiet = f.ok(&["--quiet", "check", "data"]);
    assert!(quiet.stderr.is_empty() && quiet.stdout == done.stdout, "{}", quiet.all());
}

#[test]
fn a_data_set_that_cannot_be_opened_is_reported() {
    let f = Folder::new();
    f.refused(&["check", "nowhere"], 1, &["nowhere", "does not exist"]);
    std::fs::create_dir(f.path("data")).unwrap();
    f.refused(&["check", "data"], 1, &["1 error"]);
    std::fs::write(f.path("data/dataset.json"), "{").unwrap();
    let done = f.run(&["check", "data", "--json"]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["findings"][0]["kind"], "dataset_json", "{}", done.all());
    std::fs::write(f.path("data/dataset.json"), "{}").unwrap();
    let done = f.run(&["check", "data"]);
    assert_eq!(done.code, 1, "{}", done.all());
    for words in ["'modality'", "'labels'", "no labelled training cases"] {
        assert!(done.stdout.contains(words), "{}", done.all());
    }
    f.refused(&["check", "data", "--threads", "x"], 2, &["--threads"]);
}

#[test]
fn the_quick_part_tells_all_errors_together() {
    let f = Folder::new();
    with_every_fault(f.path("data"));
    // Of the faults of dataset.json itself, opening tells.
    let mut d = Made::new(f.path("data"));
    let name = |p: PathBuf| p.file_name().unwrap().to_string_lossy().replace(".nii.gz", "");
    let labels = std::fs::read_dir(d.dir.join("labelsTr")).unwrap();
    d.names = labels.map(|e| name(e.unwrap().path())).collect();
    d.json(LABELS, "");
    let error = quick(&Dataset::open(&d.dir).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("the data set has 8 errors:"), "{error}");
    for name in ["junk", "shape", "spacing", "flipped", "shifted", "grids", "three", "two"] {
        assert!(error.contains(name), "{name}: {error}");
    }
    for name in ["junk", "shape", "spacing", "flipped", "shifted", "grids", "three", "two"] {
        d.names.retain(|n| n != name);
    }
    d.json(r#"{"0":"background","1":"core_L","2":"core_R"}"#, "");
    let warnings = quick(&Dataset::open(&d.dir).unwrap()).unwrap();
    let words = ["forms_0000", "LAS 1", "'coarse'", "--no-mirror"];
    assert_eq!(warnings.len(), words.len(), "{warnings:?}");
    for ((_, warning), word) in warnings.iter().zip(words) {
        assert!(warning.contains(word), "{word}: {warning}");
    }
    let many: Vec<String> = (0..12).map(|i| format!("many{i}")).collect();
    for name in &many {
        d.case(name, &plain());
        std::fs::write(d.label(name), b"junk").unwrap();
    }
    d.json(LABELS, "");
    let error = quick(&Dataset::open(&d.dir).unwrap()).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 12, "{error}");
    assert!(error.contains("and 2 more"), "{error}");
}

#[test]
fn both_other_layouts_are_checked() {
    let f = Folder::new();
    let dir = f.path("data");
    for folder in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    // One 4-D file a case, as in the Decathlon.
    let labels: Vec<u16> = (0..120).map(|i| [0, 1, 5][i % 3]).collect();
    for (seed, name) in ["a", "b"].into_iter().enumerate() {
        let mut values = [Made::values(2 * seed + 1), Made::values(2 * seed + 2)].concat();
        values[120 + 7 + seed] = f32::NEG_INFINITY;
        let image = dir.join(format!("imagesTr/{name}.nii.gz"));
        write_image(&image, &values, 2, SHAPE, &plain()).unwrap();
        let mut own = labels.clone();
        own[seed] = 0;
        write_labels(&dir.join(format!("labelsTr/{name}.nii.gz")), &own, SHAPE, &plain()).unwrap();
    }
    let mut d = Made::new(dir.clone());
    d.names = ["a", "b"].map(String::from).to_vec();
    d.json(r#"{"0":"background","1":"core"}"#, "");
    let done = f.run(&["check", "data"]);
    for words in [
        "the first is -inf at voxel (x 1, y 1, z 0) of channel 1",
        "the first is -inf at voxel (x 2, y 1, z 0) of channel 1",
        r#"write "labels": {"0": "background", "1": "core", "5": "label_5"} to dataset.json"#,
        "5 in 40 voxel(s), first at voxel (x 2, y 0, z 0)",
    ] {
        assert!(done.stdout.contains(words), "{words}: {}", done.all());
    }
    assert!(done.stderr.contains("4 errors and 1 warning;"), "{}", done.all());
    // One file a channel, uncompressed, labels by name, as in nnU-Net v2.
    for (seed, name) in ["a", "b"].into_iter().enumerate() {
        std::fs::remove_file(dir.join(format!("imagesTr/{name}.nii.gz"))).unwrap();
        std::fs::remove_file(dir.join(format!("labelsTr/{name}.nii.gz"))).unwrap();
        let mut own: Vec<u16> = (0..120).map(|i| [0, 1, 2][i % 3]).collect();
        own[seed + 1] = 0;
        write_labels(&dir.join(format!("labelsTr/{name}.nii")), &own, SHAPE, &plain()).unwrap();
        for channel in 0..2 {
            let image = dir.join(format!("imagesTr/{name}_{channel:04}.nii"));
            let values = Made::values(2 * seed + channel);
            write_image(&image, &values, 1, SHAPE, &plain()).unwrap();
        }
    }
    std::fs::remove_file(dir.join("imagesTr/b_0001.nii")).unwrap();
    let json = r#"{"channel_names":{"0":"CT","1":"PET"},"labels":{"background":0,"core":1},"numTraining":3,"file_ending":".nii"}"#;
    std::fs::write(dir.join("dataset.json"), json).unwrap();
    let done = f.run(&["check", "data"]);
    for words in [
        "imagesTr/b_0001.nii ",
        "says numTraining 3, but there are 2 cases",
        r#"write "labels": {"background": 0, "core": 1, "label_2": 2} to dataset.json"#,
    ] {
        assert!(done.stdout.contains(words), "{words}: {}", done.all());
    }
    assert!(done.stderr.contains("3 errors and 2 warnings"), "{}", done.all());
}

/// A header whose x axis starts `voxels` of 1 mm to the side.
fn shifted(voxels: f64) -> Header {
    let mut header = plain();
    (header.srow[0][3], header.qoffset[0]) = (voxels, voxels);
    header
}

#[test]
fn grids_are_compared_in_voxels() {
    let f = Folder::new();
    let mut d = Made::new(f.path("data"));
    for name in ["a", "b", "c"] {
        d.case(name, &plain());
    }
    d.json(LABELS, "");
    let label = |voxels: f64| {
        let mut labels = vec![0u16; 120];
        (labels[5], labels[50]) = (1, 2);
        write_labels(&d.label("a"), &labels, SHAPE, &shifted(voxels)).unwrap();
    };
    let channel = |voxels: f64| d.channel("b", 1, &Made::values(90), &shifted(voxels));
    label(0.01);
    channel(-0.01);
    let done = f.ok(&["check", "data"]);
    assert!(done.stderr.contains("no errors and no warnings"), "{}", done.all());
    label(0.3);
    channel(0.3);
    let done = f.ok(&["check", "data"]);
    assert!(done.stderr.contains("no errors and 2 warnings"), "{}", done.all());
    let words = "origin [0, 0, 0] mm against [0.3, 0, 0] mm (x, y, z), up to 0.30 voxels apart";
    assert_eq!(done.stdout.matches(words).count(), 2, "{}", done.all());
    assert_eq!(quick(&Dataset::open(&d.dir).unwrap()).unwrap().len(), 2);
    label(0.6);
    channel(-0.6);
    let done = f.run(&["check", "data"]);
    assert!(done.stderr.contains("2 errors and no warnings"), "{}", done.all());
    let train = ["train", "data", "--out", "run", "--epochs", "1", "--iterations", "1"];
    f.refused(&train, 1, &["2 errors", "labelsTr/a.nii.gz", "imagesTr/b_0001.nii.gz", "-0.6"]);
}

#[test]
fn check_and_train_agree_on_images_that_hold_nothing() {
    let f = Folder::new();
    let mut d = Made::new(f.path("data"));
    for name in ["a", "b", "c"] {
        d.case(name, &plain());
    }
    d.json(LABELS, "");
    // One constant channel of two is a warning, all of them an error.
    d.channel("b", 1, &[0.0; 120], &plain());
    let done = f.ok(&["check", "data"]);
    assert!(done.stdout.contains("has the value 0 everywhere in channel 1"), "{}", done.all());
    d.channel("b", 0, &[7.0; 120], &plain());
    let words = "holds nothing: its 2 channels are 7 and 0 everywhere";
    let done = f.run(&["check", "data"]);
    assert!(done.code == 1 && done.stdout.contains(words), "{}", done.all());
    let train = ["train", "data", "--out", "run", "--epochs", "1", "--iterations", "1"];
    f.refused(&train, 1, &["the case 'b'", "b_0000.nii.gz", words, "take the case out"]);
    // The same for an image with a voxel that is no number.
    let mut values = Made::values(3);
    values[7] = f32::NAN;
    d.channel("b", 0, &values, &plain());
    assert_eq!(f.run(&["check", "data"]).code, 1);
    f.refused(&train, 1, &["the case 'b'", "b_0000.nii.gz", "NaN"]);
}

#[test]
fn voxel_sizes_have_the_digits_they_need() {
    let f = Folder::new();
    let mut d = Made::new(f.path("data"));
    for name in ["a", "b"] {
        d.case(name, &Header::plain(SHAPE, [0.7, 0.625, 0.9765625]));
    }
    d.json(LABELS, "");
    let done = f.ok(&["check", "data"]);
    for row in [["spacing mm z", "0.7"], ["spacing mm y", "0.625"], ["spacing mm x", "0.9765625"]] {
        let holds =
            |line: &str| line.starts_with(row[0]) && line.ends_with(&format!(" {}", row[1]));
        assert!(done.stdout.lines().any(holds), "{row:?} in {}", done.all());
    }
}

#[test]
fn images_to_test_on_in_another_orientation_are_named() {
    let f = Folder::new();
    let mut d = Made::new(f.path("data"));
    for name in ["a", "b", "c"] {
        d.case(name, &plain());
    }
    d.json(LABELS, "");
    let mut las = plain();
    (las.srow[0][0], las.qform_code) = (-1.0, 0);
    for (name, header) in [("t1", &plain()), ("t2", &las), ("t3", &las)] {
        for channel in 0..2 {
            let path = d.dir.join(format!("imagesTs/{name}_{channel:04}.nii.gz"));
            let values = Made::values(40 + 2 * name.len() + channel + name.as_bytes()[1] as usize);
            write_image(&path, &values, 1, SHAPE, header).unwrap();
        }
    }
    let done = f.ok(&["check", "data"]);
    assert!(done.stderr.contains("no errors and 1 warning"), "{}", done.all());
    for words in ["2 images of imagesTs are", "(RAS)", "LAS: t2, t3", "--reorient ras"] {
        assert!(done.stdout.contains(words), "{words:?} in {}", done.all());
    }
    // `train` says so too.
    let warnings = quick(&Dataset::open(&d.dir).unwrap()).unwrap();
    assert!(warnings.len() == 1 && warnings[0].1.contains("LAS: t2, t3"), "{warnings:?}");
}
