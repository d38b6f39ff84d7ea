//! Preparing data sets of mixed grids, with and without a cache.

use asng_wgpu::data::nifti::{Header, read_labels, write_image, write_labels};
use asng_wgpu::data::preprocess::{PrepareOptions, Prepared, prepare, prepare_all, survey};
use asng_wgpu::data::{Dataset, PreparedCase};
use std::path::Path;

/// A data set of one channel and one label: for each grid a bright box in the middle, labelled.
fn dataset(dir: &Path, grids: &[([usize; 3], [f64; 3])]) -> Dataset {
    for folder in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    for (number, &(shape, spacing)) in grids.iter().enumerate() {
        let [d, h, w] = shape;
        let inside = |v: usize, edge: usize| v >= edge / 4 && v < edge - edge / 4;
        let box_at = |i: usize| inside(i / (h * w), d) && inside(i / w % h, h) && inside(i % w, w);
        let labels: Vec<u8> = (0..d * h * w).map(|i| u8::from(box_at(i))).collect();
        let image: Vec<f32> =
            (0..d * h * w).map(|i| if box_at(i) { 9.0 } else { 2.0 } + (i % 5) as f32).collect();
        let header = Header::plain(shape, spacing);
        let path = |folder: &str| dir.join(format!("{folder}/c{number}.nii.gz"));
        write_image(&path("imagesTr"), &image, 1, shape, &header).unwrap();
        write_labels(&path("labelsTr"), &labels, shape, &header).unwrap();
    }
    let cases: Vec<String> = (0..grids.len())
        .map(|i| format!(r#"{{"image":"imagesTr/c{i}.nii.gz","label":"labelsTr/c{i}.nii.gz"}}"#))
        .collect();
    let text = format!(
        r#"{{"modality":{{"0":"MRI"}},"labels":{{"0":"background","1":"a"}},"training":[{}]}}"#,
        cases.join(",")
    );
    std::fs::write(dir.join("dataset.json"), text).unwrap();
    Dataset::open(dir).unwrap()
}

/// Share of a case's volume that is foreground.
fn share(case: &PreparedCase) -> f64 {
    let labels = &case.voxels().unwrap().labels;
    labels.iter().filter(|&&l| l == 1).count() as f64 / labels.len() as f64
}

#[test]
fn cases_of_all_spacings_come_to_one() {
    let dir = tempfile::tempdir().unwrap();
    let grids = [
        ([16, 16, 16], [1.0, 1.0, 1.0]),
        ([32, 16, 16], [0.5, 1.0, 1.0]),
        ([16, 16, 8], [1.0, 1.0, 2.0]),
    ];
    let d = dataset(dir.path(), &grids);
    let p = prepare_all(&d, &d.cases, 2).unwrap();
    assert_eq!(p.preprocessing.spacing_mm, [1.0; 3]);
    for c in &p.cases {
        assert_eq!(c.shape, [16; 3], "{}", c.name);
        assert!((share(c) - 0.125).abs() < 0.02, "{}: {}", c.name, share(c));
        let voxels = c.voxels().unwrap();
        assert!(voxels.image.iter().all(|v| v.is_finite()));
        let mean: f32 = voxels.image.iter().sum::<f32>() / voxels.image.len() as f32;
        assert!(mean.abs() < 1e-3, "{mean}");
        assert!(voxels.image[(8 * 16 + 8) * 16 + 8] > 0.5);
    }
    assert_eq!(p.cases[1].origin.crop_shape, [32, 16, 16]);
    let options = PrepareOptions { spacing_mm: Some([2.0; 3]), ..PrepareOptions::default() };
    let p = prepare(&d, &d.cases, &options, &mut |_| ()).unwrap();
    assert!(p.cases.iter().all(|c| c.shape == [8; 3]));
    assert_eq!(p.fingerprint.median_shape(&p.preprocessing), [8; 3]);
}

#[test]
fn what_is_zero_stays_zero_through_resampling() {
    let dir = tempfile::tempdir().unwrap();
    let grids =
        [([24, 24, 24], [1.0; 3]), ([24, 24, 24], [1.0; 3]), ([12, 24, 48], [2.0, 1.0, 0.5])];
    let d = dataset(dir.path(), &grids);
    // A ball in an empty volume, off the middle: most of its box is head, the corners are not.
    for (number, (shape, spacing)) in grids.into_iter().enumerate() {
        let [depth, h, w] = shape;
        let inside = |i: usize| {
            let at = [i / (h * w), i / w % h, i % w];
            let radius: f64 =
                (0..3).map(|a| ((at[a] as f64 + 0.5) * spacing[a] - 11.0).powi(2)).sum();
            radius < 64.0
        };
        let image: Vec<f32> = (0..depth * h * w)
            .map(|i| if inside(i) { 100.0 + (i % 7) as f32 } else { 0.0 })
            .collect();
        let path = dir.path().join(format!("imagesTr/c{number}.nii.gz"));
        write_image(&path, &image, 1, shape, &Header::plain(shape, spacing)).unwrap();
    }
    let p = prepare_all(&d, &d.cases, 1).unwrap();
    assert!(p.preprocessing.nonzero_mask);
    for c in &p.cases {
        let voxels = c.voxels().unwrap();
        let share = |keep: &dyn Fn(f32) -> bool| {
            voxels.image.iter().filter(|v| keep(**v)).count() as f64 / voxels.image.len() as f64
        };
        // A ball fills pi / 6 of its box; the spline's ringing outside is cut off.
        let zero = share(&|v| v == 0.0);
        assert!((zero - (1.0 - std::f64::consts::PI / 6.0)).abs() < 0.1, "{}: {zero}", c.name);
        let mean: f32 = voxels.image.iter().sum();
        assert!((mean / voxels.image.len() as f32).abs() < 1e-3);
    }
}

#[test]
fn a_spacing_that_would_blow_a_case_up_is_refused_by_name() {
    for mm in [1e6, f64::from(f32::MAX)] {
        let dir = tempfile::tempdir().unwrap();
        let d = dataset(dir.path(), &[([8; 3], [1.0; 3]), ([8; 3], [1.0; 3]), ([8; 3], [mm; 3])]);
        let error = prepare_all(&d, &d.cases, 1).unwrap_err().to_string();
        assert!(error.contains("c2.nii.gz") && error.contains("spacing"), "{error}");
        let found = survey(&d, &d.cases, &PrepareOptions::default(), &mut |_| ()).unwrap();
        let by = found.preprocessing(None);
        let error = found.check_sizes(&by).unwrap_err().to_string();
        assert!(error.contains("'c2'") && error.contains("--spacing"), "{error}");
        // What plans ask of such a data set does not overflow.
        assert!(found.median_shape(&by) == [8; 3]);
    }
}

#[test]
fn the_coarsest_axis_becomes_the_first() {
    let dir = tempfile::tempdir().unwrap();
    // Sagittal slices: W is the coarse axis of the file.
    let d = dataset(dir.path(), &[([40, 32, 6], [0.6, 0.6, 3.6]), ([40, 32, 6], [0.6, 0.6, 3.6])]);
    let p = prepare_all(&d, &d.cases, 1).unwrap();
    assert_eq!(p.preprocessing.axes, [2, 0, 1]);
    let spacing = p.preprocessing.spacing_mm;
    assert!((spacing[0] - 3.6).abs() < 1e-6 && (spacing[1] - 0.6).abs() < 1e-6, "{spacing:?}");
    let c = &p.cases[0];
    assert_eq!((c.shape, c.origin.shape), ([6, 40, 32], [40, 32, 6]));
    let labels = &c.voxels().unwrap().labels;
    let at = |z: usize, y: usize, x: usize| labels[(z * 40 + y) * 32 + x];
    assert_eq!((at(1, 10, 8), at(0, 10, 8), at(1, 9, 8), at(4, 29, 23)), (1, 0, 0, 1));
}

#[test]
fn a_prepared_case_knows_its_place_in_the_world() {
    let dir = tempfile::tempdir().unwrap();
    let shape = [20, 30, 8];
    let d = dataset(dir.path(), &[(shape, [1.0, 1.0, 4.0])]);
    let path = dir.path().join("imagesTr/c0.nii.gz");
    let mut header = Header::plain(shape, [1.0, 1.0, 4.0]);
    // An oblique head that runs from right to left.
    header.srow = [[-3.8, 0.3, 0.1, 7.0], [1.2, 0.9, -0.2, -5.0], [0.2, 0.3, 0.95, 11.0]];
    let image: Vec<f32> =
        (0..20 * 30 * 8).map(|i| if i / 240 < 3 { 0.0 } else { (i % 13 + 1) as f32 }).collect();
    write_image(&path, &image, 1, shape, &header).unwrap();
    let label = dir.path().join("labelsTr/c0.nii.gz");
    write_labels(&label, &read_labels(&label).unwrap().labels, shape, &header).unwrap();
    for reorient in [false, true] {
        let options = PrepareOptions {
            reorient,
            spacing_mm: Some(if reorient { [1.0, 2.0, 3.0] } else { [2.0, 1.0, 3.0] }),
            ..PrepareOptions::default()
        };
        let p = prepare(&d, &d.cases, &options, &mut |_| ()).unwrap();
        let case = &p.cases[0];
        let made = case.origin.prepared_header(p.preprocessing.axes, case.shape);
        assert_eq!(made.shape(), case.shape);
        // The middle of the prepared volume is the middle of the crop, wherever the axes run.
        let centre = |header: &Header, first: [usize; 3], edges: [usize; 3]| {
            let at: [f64; 3] =
                std::array::from_fn(|i| first[2 - i] as f64 + (edges[2 - i] as f64 - 1.0) / 2.0);
            header.affine().map(|r| r[3] + (0..3).map(|i| r[i] * at[i]).sum::<f64>())
        };
        let turned = case.origin.turn.header(&case.origin.header);
        let wanted = centre(&turned, case.origin.crop_start, case.origin.crop_shape);
        let found = centre(&made, [0; 3], case.shape);
        for (a, b) in wanted.iter().zip(found) {
            assert!((a - b).abs() < 1e-6, "{wanted:?} {found:?}");
        }
        // And so do its outer edges: the volume is the same.
        let size = |header: &Header| {
            let m = header.affine();
            let dims = header.dims.map(|n| n as f64);
            let column = |c: usize| (0..3).map(|r| (m[r][c] * dims[c]).powi(2)).sum::<f64>().sqrt();
            let mut edges = [column(0), column(1), column(2)];
            edges.sort_by(f64::total_cmp);
            edges
        };
        let crop = turned.cut(case.origin.crop_start.map(|v| v as i64), case.origin.crop_shape);
        for (a, b) in size(&crop).iter().zip(size(&made)) {
            assert!((a - b).abs() < 1e-6);
        }
    }
}

fn with_cache(d: &Dataset, cache: &Path, memory_bytes: u64) -> Prepared {
    let options = PrepareOptions {
        threads: 2,
        cache: Some(cache.to_owned()),
        memory_bytes: Some(memory_bytes),
        ..PrepareOptions::default()
    };
    prepare(d, &d.cases, &options, &mut |_| ()).unwrap()
}

fn same(a: &Prepared, b: &Prepared) {
    assert_eq!((&a.preprocessing, a.cases.len()), (&b.preprocessing, b.cases.len()));
    for (a, b) in a.cases.iter().zip(&b.cases) {
        assert!(a.voxels().unwrap() == b.voxels().unwrap(), "{}", a.name);
        assert_eq!(a.places.foreground, b.places.foreground);
        assert_eq!(a.origin.header, b.origin.header);
    }
}

#[test]
fn a_cache_gives_the_same_cases_and_never_those_of_other_inputs() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = (dir.path().join("data"), dir.path().join("cache"));
    let grids = [([12, 14, 16], [1.0; 3]), ([12, 14, 16], [1.2, 1.0, 0.9])];
    let d = dataset(&data, &grids);
    let plain = prepare_all(&d, &d.cases, 1).unwrap();
    let files = || {
        let mut all: Vec<_> = std::fs::read_dir(&cache)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
            .collect();
        all.sort();
        all
    };
    // Without room in memory, every case is read from its file.
    same(&plain, &with_cache(&d, &cache, 0));
    let first = files();
    assert_eq!(first.len(), 2);
    let written = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let times: Vec<_> = first.iter().map(|p| written(p)).collect();
    same(&plain, &with_cache(&d, &cache, 1 << 30));
    assert_eq!(times, first.iter().map(|p| written(p)).collect::<Vec<_>>());
    // A damaged file is made again.
    let bytes = std::fs::read(&first[0]).unwrap();
    std::fs::write(&first[0], &bytes[..bytes.len() / 2]).unwrap();
    same(&plain, &with_cache(&d, &cache, 0));
    assert_eq!(std::fs::read(&first[0]).unwrap(), bytes);
    // Other content, other file.
    let d = dataset(&data, &[([12, 14, 15], [1.0; 3]), grids[1]]);
    let changed = with_cache(&d, &cache, 0);
    same(&prepare_all(&d, &d.cases, 1).unwrap(), &changed);
    assert!(files().len() > 2);
    // A file that vanishes while it is needed is named.
    files().iter().for_each(|p| std::fs::remove_file(p).unwrap());
    let error = changed.cases[0].voxels().unwrap_err().to_string();
    assert!(error.contains("c0-"), "{error}");
}
