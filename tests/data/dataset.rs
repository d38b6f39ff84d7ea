//! Layouts, their mistakes, preprocessing and demo data.

use crate::common::{Raw, gzip, sentence};
use asng_wgpu::data::check::{check, quick};
use asng_wgpu::data::demo::{DemoKind, DemoSize, demo_case, write_demo};
use asng_wgpu::data::preprocess::prepare_all;
use asng_wgpu::data::{Dataset, Normalisation, split};
use proptest::prelude::*;
use std::path::Path;

fn json(dir: &Path, text: &str) {
    std::fs::write(dir.join("dataset.json"), text).unwrap();
}

/// Folders with 3 x 3 x 3 images `X` and labels for each name.
fn files(dir: &Path, names: &[&str], suffix: &str) {
    for folder in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    for name in names {
        let mut image = vec![0u8; 27];
        image[13] = 7;
        image[14] = 9;
        let bytes = gzip(&Raw::new(3, 3, 3, 2, image.clone()).bytes());
        std::fs::write(dir.join(format!("imagesTr/{name}{suffix}.nii.gz")), &bytes).unwrap();
        image.fill(0);
        image[13] = 1;
        let bytes = gzip(&Raw::new(3, 3, 3, 2, image).bytes());
        std::fs::write(dir.join(format!("labelsTr/{name}.nii.gz")), &bytes).unwrap();
    }
}

const MSD: &str = r#"{"name":"T","modality":{"0":"MRI"},"labels":{"0":"background","1":"a"},
"training":[{"image":"./imagesTr/b.nii.gz","label":"./labelsTr/b.nii.gz"},
{"image":"./imagesTr/._b.nii.gz","label":"./labelsTr/._b.nii.gz"},
{"image":"./imagesTr/a.nii.gz","label":"./labelsTr/a.nii.gz"}],"test":[]}"#;

#[test]
fn three_layouts() {
    let v2 = r#"{"channel_names":{"0":"CT"},"labels":{"background":0,"a":1},"numTraining":2,"file_ending":".nii.gz"}"#;
    for (text, suffix, ct) in [(MSD, "", false), (MSD, "_0000", false), (v2, "_0000", true)] {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &["b", "a"], suffix);
        std::fs::write(dir.path().join("labelsTr/._a.nii.gz"), b"junk").unwrap();
        json(dir.path(), text);
        let d = Dataset::open(dir.path()).unwrap();
        assert_eq!(d.cases.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(d.labels.names().join(","), "background,a");
        assert_eq!(d.normalisation()[0] == Normalisation::Ct, ct);
        let p = prepare_all(&d, &d.cases, 1).unwrap();
        assert_eq!(p.preprocessing.ct.len(), usize::from(ct));
        assert_eq!(p.preprocessing.nonzero_mask, !ct);
        let c = &p.cases[0];
        let (origin, voxels) = (&c.origin, c.voxels().unwrap());
        assert_eq!((c.shape, origin.crop_start, origin.shape), ([1, 1, 2], [1; 3], [3; 3]));
        assert_eq!(
            (voxels.labels.as_slice(), c.places.foreground[0].as_slice()),
            ([1u8, 0].as_slice(), [0u32].as_slice())
        );
        if !ct {
            assert_eq!(voxels.image, [-1.0, 1.0]);
        }
    }
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    files(path, &["a", "b"], "");
    assert!(sentence(Dataset::open(&path.join("no")), &path.join("no")).contains("does not exist"));
    assert!(sentence(Dataset::open(path), path).contains("no dataset.json"));
    for (text, want) in [
        ("{\n  \"name\": ,", "line 2 column"),
        ("[]", "JSON object"),
        ("{}", "'modality'"),
        (r#"{"modality":{"1":"MRI"}}"#, "channels [1]"),
        (r#"{"modality":{"0":"MRI"}}"#, "'labels'"),
        (r#"{"modality":{"0":"MRI"},"labels":{"1":"a"}}"#, "no label 0"),
        (r#"{"modality":{"0":"MRI"},"labels":{"0":"background","-1":"a"}}"#, "nobody labelled"),
        (r#"{"modality":{"0":"MRI"},"labels":{"background":0,"a":1.5}}"#, "'a'"),
        (r#"{"modality":{"0":"MRI"},"labels":{"background":0,"a":[1,2]}}"#, "regions_class_order"),
        (&MSD.replace("a.nii", "zz.nii"), "do not exist"),
        (&MSD.replace("./imagesTr/a", "../imagesTr/a"), "leaves the folder"),
        (&MSD.replace("./imagesTr/a", "/etc/a"), "leaves the folder"),
        (&MSD.replace("a.nii", "b.nii"), "two cases"),
        (r#"{"modality":{"0":"MRI"},"labels":{"0":"b","1":"a"},"training":[]}"#, "no labelled"),
        (r#"{"modality":{"0":"MRI"},"labels":{"0":"b","1":"a"},"training":[3]}"#, "entry 0"),
    ] {
        json(path, text);
        let e = sentence(Dataset::open(path), &path.join("dataset.json"));
        assert!(e.contains(want), "{want}: {e}");
    }
}

#[test]
fn inconsistent_cases_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    json(path, MSD);
    let check = |file: &str, raw: Raw, want: &str| {
        files(path, &["a", "b"], "");
        let file = path.join(file);
        std::fs::write(&file, gzip(&raw.bytes())).unwrap();
        let d = Dataset::open(path).unwrap();
        let e = prepare_all(&d, &d.cases, 2).unwrap_err().to_string();
        assert!(e.contains(want), "{want}: {e}");
    };
    let mut values = vec![0u8; 27];
    values[5] = 4;
    check(
        "labelsTr/b.nii.gz",
        Raw::new(3, 3, 3, 2, values),
        "the label 4 at voxel (x 2, y 1, z 0)",
    );
    check(
        "labelsTr/b.nii.gz",
        Raw::new(3, 3, 2, 2, vec![0; 18]),
        "shape [3, 3, 3] against [2, 3, 3]",
    );
    let nan = (0..27).flat_map(|i| if i == 1 { f32::NAN } else { 1.0 }.to_le_bytes()).collect();
    check("imagesTr/a.nii.gz", Raw::new(3, 3, 3, 16, nan), "NaN at voxel (x 1, y 0, z 0)");
    let mut four = Raw::new(3, 3, 3, 2, vec![1; 54]);
    (four.dim[0], four.dim[4]) = (4, 2);
    check("imagesTr/a.nii.gz", four, "has 2 channels, but 1");
}

#[test]
fn splits_file_is_honoured() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path(), &["a", "b"], "");
    json(dir.path(), MSD);
    let d = Dataset::open(dir.path()).unwrap();
    assert_eq!(split::folds(&d).unwrap().len(), 2);
    std::fs::write(dir.path().join("splits_final.json"), r#"[{"train":["b"],"val":["a"]}]"#)
        .unwrap();
    let folds = split::folds(&d).unwrap();
    assert_eq!((folds.len(), folds[0].val.as_slice()), (1, ["a".to_string()].as_slice()));
    assert_eq!(d.select(&folds[0].train).unwrap()[0].name, "b");
    assert!(d.select(&["c".into()]).unwrap_err().to_string().contains("has no case 'c'"));
}

#[test]
fn demo_is_deterministic_and_varies() {
    for kind in [DemoKind::Heart, DemoKind::Prostate, DemoKind::Brain] {
        let a = demo_case(kind, DemoSize::Small, 1, 5);
        assert_eq!(a, demo_case(kind, DemoSize::Small, 1, 5));
        assert_ne!(a.labels, demo_case(kind, DemoSize::Small, 2, 5).labels);
        assert_ne!(a.image, demo_case(kind, DemoSize::Small, 1, 6).image);
        for number in 0..6 {
            let c = demo_case(kind, DemoSize::Small, number, 5);
            for l in 1..kind.labels().len() as u16 {
                let n = c.labels.iter().filter(|v| **v == l).count();
                assert!(n > 40, "{kind:?} case {number}: label {l} has {n} voxels");
            }
        }
    }
}

#[test]
fn demo_opens_and_prepares() {
    for kind in [DemoKind::Heart, DemoKind::Prostate, DemoKind::Brain] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo");
        write_demo(&path, kind, DemoSize::Small, 3, 1).unwrap();
        let d = Dataset::open(&path).unwrap();
        assert_eq!((d.cases.len(), d.modalities.len()), (3, kind.channels().len()));
        let one = prepare_all(&d, &d.cases, 1).unwrap();
        let two = prepare_all(&d, &d.cases, 2).unwrap();
        assert_eq!(one.preprocessing, two.preprocessing);
        assert_eq!(
            one.preprocessing.spacing_mm[0].round(),
            kind.grid(DemoSize::Small).1[0].round()
        );
        assert_eq!((one.cases.len(), two.cases.len()), (3, 3));
        for (a, b) in one.cases.iter().zip(&two.cases) {
            assert!(
                a.voxels().unwrap() == b.voxels().unwrap()
                    && a.places.foreground == b.places.foreground
            );
            assert!(a.places.foreground.iter().all(|f| !f.is_empty()));
            assert!(a.voxels().unwrap().image.iter().all(|v| v.is_finite()));
        }
        sentence(write_demo(&path, kind, DemoSize::Small, 3, 1), &path);
    }
}

/// The cases that inputs name, for a run whose cases have ordinary names.
fn images(
    inputs: &[std::path::PathBuf],
    channels: usize,
) -> asng_wgpu::Result<Vec<asng_wgpu::data::Case>> {
    asng_wgpu::data::inputs::find_images(inputs, channels, false).map(|found| found.cases)
}

#[test]
fn inputs_in_either_layout() {
    let dir = tempfile::tempdir().unwrap();
    let touch = |n: &str| std::fs::write(dir.path().join(n), b"x").unwrap();
    sentence(images(&[dir.path().to_owned()], 1), dir.path());
    sentence(images(&[dir.path().join("no").to_owned()], 1), &dir.path().join("no"));
    for n in ["b_0000.nii.gz", "b_0001.nii.gz", "a_0000.nii.gz", "a_0001.nii.gz", "._a_0000.nii.gz"]
    {
        touch(n);
    }
    let found = images(&[dir.path().to_owned()], 2).unwrap();
    assert_eq!(
        found.iter().map(|c| (c.name.as_str(), c.images.len())).collect::<Vec<_>>(),
        [("a", 2), ("b", 2)]
    );
    let one = images(&[dir.path().join("a_0000.nii.gz").to_owned()], 2).unwrap();
    assert_eq!((one[0].name.as_str(), one[0].images.len()), ("a", 2));
    sentence(images(&[dir.path().to_owned()], 3), dir.path());
    touch("la_007.nii.gz");
    // With one channel the second is none, and a file without channel number is no case.
    let one = images(&[dir.path().to_owned()], 1).unwrap();
    assert_eq!(one.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn inputs_by_list_and_several_together() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    std::fs::create_dir(at("more")).unwrap();
    for n in ["b_0000.nii.gz", "b_0001.nii.gz", "more/a_0000.nii", "more/a_0001.nii", "c.nii"] {
        std::fs::write(at(n), b"x").unwrap();
    }
    let names = |cases: &[asng_wgpu::data::Case]| {
        cases.iter().map(|c| format!("{} {}", c.name, c.images.len())).collect::<Vec<_>>()
    };
    let list = at("list.txt");
    // The first channel stands for all; a channel named twice counts once.
    std::fs::write(&list, "# two\r\nb_0000.nii.gz\r\n\nb_0001.nii.gz\n  more  \n").unwrap();
    assert_eq!(names(&images(&[list.to_owned()], 2).unwrap()), ["a 2", "b 2"]);
    let both = images(&[at("b_0000.nii.gz"), at("more")], 2).unwrap();
    assert_eq!(names(&both), ["a 2", "b 2"]);
    assert_eq!(names(&images(&[at("c.nii"), list.clone()], 1).unwrap()).len(), 5);
    std::fs::write(&list, "nowhere.nii.gz\n").unwrap();
    assert!(sentence(images(&[list.to_owned()], 2), &list).contains("nowhere.nii.gz"));
    std::fs::write(&list, "# nothing\n").unwrap();
    assert!(sentence(images(&[list.to_owned()], 2), &list).contains("names no file"));
    std::fs::write(at("more/c.nii"), b"x").unwrap();
    let e = images(&[at("c.nii"), at("more/c.nii")], 1).unwrap_err().to_string();
    assert!(e.contains("two files of the case 'c'"), "{e}");
    let e = images(&[], 1).unwrap_err().to_string();
    assert!(e.contains("no input is given"), "{e}");
    std::fs::write(at("scan_2023.nii"), b"x").unwrap();
    assert_eq!(names(&images(&[at("scan_2023.nii").to_owned()], 1).unwrap()), ["scan_2023 1"]);
}

#[test]
fn patients_are_kept_together() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path(), &["a", "b"], "");
    json(dir.path(), MSD);
    let d = Dataset::open(dir.path()).unwrap();
    std::fs::write(dir.path().join("patients.csv"), "a,p\nb,p\n").unwrap();
    sentence(split::folds(&d), &dir.path().join("patients.csv"));
    std::fs::write(dir.path().join("patients.csv"), "a,q\nb,p\n").unwrap();
    let folds = split::folds(&d).unwrap();
    assert_eq!(folds.len(), 2);
    // A file of folds wins, and can be named.
    let path = dir.path().join("own.json");
    std::fs::write(&path, r#"[{"train":["b.nii.gz"],"val":["a"]}]"#).unwrap();
    let e = sentence(split::folds_from(&path, &d.labelled_names()), &path);
    assert!(e.contains("it has 'b'"), "{e}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in its files, a data set is checked to the end.
    #[test]
    fn any_damage_is_checked(
        file in 0usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &["a", "b"], "");
        json(dir.path(), MSD);
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("splits_final.json", r#"[{"train":["b"],"val":["a"]}]"#);
        write("patients.csv", "a,p\nb,q\n");
        let names =
            ["dataset.json", "splits_final.json", "patients.csv", "imagesTr/a.nii", "labelsTr/b.nii"];
        // Damage to the voxels, not to gzip's checksum: a plain file under the same case name.
        if file > 2 {
            let bytes = Raw::new(3, 3, 3, 2, vec![1; 27]).bytes();
            std::fs::write(dir.path().join(names[file]), bytes).unwrap();
            let packed = format!("{}.gz", names[file]);
            json(dir.path(), &MSD.replace(&packed, names[file]));
        }
        let path = dir.path().join(names[file]);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, bytes).unwrap();
        let report = check(dir.path(), 1, &|_, _, _| {}).unwrap();
        prop_assert_eq!(report.errors + report.warnings + report.notes, report.findings.len());
        prop_assert!(report.findings.iter().all(|f| !f.message.is_empty() && !f.remedy.is_empty()), "{:?}", report.findings);
        if let Ok(d) = Dataset::open(dir.path()) {
            let _ = (quick(&d), split::folds(&d));
        }
    }
}
