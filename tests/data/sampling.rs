//! Patch places, source boxes and the prefetching thread.

use asng_wgpu::data::demo::{DemoKind, DemoSize, write_demo};
use asng_wgpu::data::labels::{self, IGNORED, Labels};
use asng_wgpu::data::nifti::Header;
use asng_wgpu::data::orientation::Turn;
use asng_wgpu::data::prefetch::{Batch, PrefetchPlan, Prefetcher, extract, source_range};
use asng_wgpu::data::preprocess::{Origin, PrepareOptions, PreparedImage, prepare};
use asng_wgpu::data::rng::Purpose;
use asng_wgpu::data::{Dataset, PatchSampler, PreparedCase};
use proptest::prelude::*;
use std::sync::Arc;

/// A case of which voxel `i` has the value i and every 17th the label 1.
fn case(shape: [usize; 3]) -> PreparedCase {
    let n: usize = shape.iter().product();
    let labels: Vec<u8> = (0..n).map(|i| u8::from(i % 17 == 3)).collect();
    let origin = Origin {
        header: Header::plain(shape, [1.0; 3]),
        turn: Turn::permutation(shape, [0, 1, 2]),
        shape,
        crop_start: [0; 3],
        crop_shape: shape,
        spacing_mm: [1.0; 3],
    };
    let image = (0..2 * n).map(|i| i as f32).collect();
    let image =
        PreparedImage { channels: 2, shape, image, origin, constant: None, grids: Vec::new() };
    PreparedCase::in_memory("c".into(), image, labels, &Labels::numbered(3), [1.0; 3])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn patches_lie_inside_or_are_centred(
        shape in prop::array::uniform3(1usize..20),
        patch in prop::array::uniform3(1usize..24),
        batch in 1usize..5,
        seed in any::<u64>(),
        limit in 1usize..9000,
    ) {
        let cases = [case(shape), case([9, 9, 9])];
        let s = PatchSampler::new(patch, batch, 1.0 / 3.0);
        let drawn = s.batch(seed, Purpose::Patches, 1, 2, &cases);
        prop_assert_eq!(drawn.len(), batch);
        prop_assert_eq!(&drawn, &s.batch(seed, Purpose::Patches, 1, 2, &cases));
        for p in drawn {
            let c = &cases[p.case];
            for (a, &k) in patch.iter().enumerate() {
                let (n, k) = (c.shape[a] as i64, k as i64);
                if n >= k {
                    prop_assert!((0..=n - k).contains(&p.start[a]));
                } else {
                    prop_assert_eq!(p.start[a], -((k - n) / 2));
                }
            }
            let (from, size) = source_range(c.shape, p.start, patch, limit);
            let voxels: usize = size.iter().product();
            let mut inside = 1usize;
            for (a, &k) in patch.iter().enumerate() {
                prop_assert!(from[a] + size[a] <= c.shape[a]);
                let low = p.start[a].max(0) as usize;
                let high = ((p.start[a] + k as i64) as usize).min(c.shape[a]);
                inside *= high - low;
                prop_assert!(from[a] <= low && high <= from[a] + size[a]);
            }
            prop_assert!(voxels <= limit.max(inside));
            let b = extract(c, p.start, patch, limit).unwrap();
            prop_assert_eq!(b.image.len(), 2 * voxels);
            prop_assert_eq!(b.labels.len(), voxels);
            let [_, h, w] = c.shape;
            prop_assert_eq!(b.image[0], ((from[0] * h + from[1]) * w + from[2]) as f32);
        }
    }

    #[test]
    fn foreground_samples_hit_the_foreground(seed in any::<u64>()) {
        let cases = [case([30, 30, 30])];
        let s = PatchSampler::new([5, 5, 5], 3, 1.0 / 3.0);
        let drawn = s.batch(seed, Purpose::Patches, 0, 0, &cases);
        let p = drawn[2];
        // Unless clipped at a border, the middle voxel is foreground.
        if p.start.iter().all(|&v| v > 0 && v < 25) {
            let i = p.start.iter().fold(0, |i, &v| i * 30 + v as usize + 2);
            prop_assert_eq!(cases[0].voxels().unwrap().labels[i], 1);
        }
    }
}

#[test]
fn one_of_two_is_on_the_foreground() {
    let s = PatchSampler::new([4; 3], 2, 1.0 / 3.0);
    assert_eq!([0, 1].map(|i| s.on_foreground(i)), [false, true]);
    let s = PatchSampler::new([4; 3], 1, 1.0 / 3.0);
    assert!(!s.on_foreground(0));
}

/// A case of which one small corner is labelled.
fn mostly_unlabelled(shape: [usize; 3], inside: impl Fn(usize) -> u8) -> PreparedCase {
    let plain = case(shape);
    let [_, h, w] = shape;
    let corner = |i: usize| i / (h * w) < 3 && i / w % h < 3 && i % w < 3;
    let indices = (0..shape.iter().product()).map(|i| if corner(i) { inside(i) } else { IGNORED });
    let declared = labels::parse(r#"{"labels":{"background":0,"a":1,"b":2,"ignore":3}}"#);
    let image = PreparedImage {
        channels: 2,
        shape,
        image: Vec::new(),
        origin: plain.origin,
        constant: None,
        grids: Vec::new(),
    };
    PreparedCase::in_memory("c".into(), image, indices.collect(), &declared.labels, [1.0; 3])
}

#[test]
fn no_patch_is_wholly_unlabelled() {
    let shape = [20, 18, 16];
    let sampler = PatchSampler::new([6, 6, 6], 2, 1.0 / 3.0);
    let labelled = |start: [i64; 3]| start.iter().all(|&s| s < 3);
    for cases in [
        vec![mostly_unlabelled(shape, |i| (i % 3) as u8)],
        // Nothing to oversample: labelled voxels take its place.
        vec![mostly_unlabelled(shape, |_| 0)],
    ] {
        for iteration in 0..200 {
            let batch = sampler.batch(7, Purpose::Patches, 0, iteration, &cases);
            assert!(batch.iter().all(|place| labelled(place.start)), "{batch:?}");
        }
    }
    // A case without any label is sampled anywhere.
    let nothing = [mostly_unlabelled(shape, |_| IGNORED)];
    let starts = (0..50).map(|i| sampler.batch(7, Purpose::Patches, 0, i, &nothing)[0].start);
    assert!(starts.into_iter().any(|start| !labelled(start)));
}

#[test]
fn prefetcher_keeps_order_and_stops() {
    let cases = Arc::new(vec![case([10, 10, 10]), case([6, 12, 9])]);
    let sampler = PatchSampler::new([8, 8, 8], 2, 1.0 / 3.0);
    let plan = PrefetchPlan {
        sampler,
        seed: 3,
        purpose: Purpose::Patches,
        epochs: (2, 4),
        iterations: 5,
        skip: 0,
        depth: 2,
        max_voxels: 10_000,
    };
    let all: Vec<_> = Prefetcher::start(cases.clone(), plan).unwrap().map(|b| b.unwrap()).collect();
    let order: Vec<_> = all.iter().map(|b| (b.epoch, b.iteration)).collect();
    assert_eq!(order, (2..4).flat_map(|e| (0..5).map(move |i| (e, i))).collect::<Vec<_>>());
    for b in &all {
        let want = sampler.batch(3, Purpose::Patches, b.epoch, b.iteration, &cases);
        assert_eq!(b.samples.iter().map(|s| s.location).collect::<Vec<_>>(), want);
        assert!(b.samples.iter().all(|s| s.source.whole));
    }
    let mut few = Prefetcher::start(cases.clone(), plan).unwrap();
    assert!(few.next().is_some());
    drop(few);
    for skip in [1, 5, 7, 10, 11] {
        let rest = Prefetcher::start(cases.clone(), PrefetchPlan { skip, ..plan }).unwrap();
        let rest: Vec<_> = rest.map(|b| b.unwrap()).collect();
        let places = |batches: &[Batch]| -> Vec<_> {
            let place = |b: &Batch| {
                let locations: Vec<_> = b.samples.iter().map(|s| s.location).collect();
                (b.epoch, b.iteration, locations)
            };
            batches.iter().map(place).collect()
        };
        assert_eq!(places(&rest), places(&all[all.len().min(skip as usize)..]));
    }
    let none = Prefetcher::start(Arc::new(Vec::<PreparedCase>::new()), plan).map(drop);
    assert!(none.unwrap_err().to_string().contains("no cases to sample"));
}

#[test]
fn a_case_that_cannot_be_read_is_left_out_to_the_same_batches_whenever_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_demo(&data, DemoKind::Heart, DemoSize::Small, 3, 0).unwrap();
    let dataset = Dataset::open(&data).unwrap();
    let cache = Some(folder.path().join("cache"));
    // Nothing is held, so that every patch is read from the cache.
    let options = PrepareOptions { threads: 1, cache, memory_bytes: Some(0), ..Default::default() };
    let cases = Arc::new(prepare(&dataset, &dataset.cases, &options, &mut |_| ()).unwrap().cases);
    let file = |name: &str| {
        let files = std::fs::read_dir(folder.path().join("cache")).unwrap();
        let mut paths = files.map(|e| e.unwrap().path());
        paths.find(|p| p.file_name().unwrap().to_string_lossy().starts_with(name)).unwrap()
    };
    let plan = PrefetchPlan {
        sampler: PatchSampler::new([8; 3], 2, 1.0 / 3.0),
        seed: 3,
        purpose: Purpose::Patches,
        epochs: (0, 2),
        iterations: 10,
        skip: 0,
        depth: 2,
        max_voxels: 10_000,
    };
    let batches = |plan, without: &[String]| -> Vec<Batch> {
        let feed = Prefetcher::start_without(cases.clone(), plan, without).unwrap();
        feed.map(|b| b.unwrap()).collect()
    };
    let places = |batches: &[Batch]| -> Vec<_> {
        batches.iter().flat_map(|b| b.samples.iter().map(|s| s.location)).collect()
    };
    let whole = batches(plan, &[]);
    let lost = file("heart_002");
    let kept = std::fs::read(&lost).unwrap();
    std::fs::remove_file(&lost).unwrap();
    let without = batches(plan, &[]);
    let named: Vec<_> = without.iter().flat_map(|b| &b.unreadable).collect();
    assert_eq!(named.len(), 1);
    assert!(named[0].case == "heart_002" && named[0].why.contains("heart_002"), "{named:?}");
    // Other samples stay where they are.
    let (before, after) = (places(&whole), places(&without));
    assert!(after.iter().all(|l| l.case != 1) && before.iter().any(|l| l.case == 1));
    assert!(before.iter().zip(&after).all(|(b, a)| b.case == 1 || b == a));
    // Going on later, where it is left out already, comes to the same batches.
    let at = without.iter().position(|b| !b.unreadable.is_empty()).unwrap();
    std::fs::write(&lost, kept).unwrap();
    let skip = at as u64 + 1;
    let rest = batches(PrefetchPlan { skip, ..plan }, &["heart_002".to_owned()]);
    assert_eq!(places(&rest), places(&without[at + 1..]));
    for name in ["heart_001", "heart_002", "heart_003"] {
        std::fs::remove_file(file(name)).unwrap();
    }
    let mut none = Prefetcher::start(cases.clone(), plan).unwrap();
    assert!(none.next().unwrap().is_err() && none.next().is_none());
}
