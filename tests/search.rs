//! Properties of the policy search and of draws.

use asng_wgpu::augment::draw::{Draw, StreamKey, draw};
use asng_wgpu::data::Axes;
use asng_wgpu::search::asng::{Asng, AsngOptions, UpdateOutcome, theta_min};
use asng_wgpu::search::distribution::Categorical;
use asng_wgpu::search::file::{PolicyFile, VERSION};
use asng_wgpu::search::policy::{Interval, Policy};
use asng_wgpu::search::reinforce::Reinforce;
use asng_wgpu::search::searcher::{
    AsngSearcher, Constant, Frozen, Outcome, SearchInit, Searcher, fixed_from,
};
use asng_wgpu::search::space::{Field, Space};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

fn assert_distribution(theta: &Categorical) {
    let d = theta.counts().iter().filter(|k| **k > 1).count();
    for row in theta.rows() {
        let min = theta_min(d, row.len()) * (1.0 - 1e-9);
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{row:?}");
        assert!(row.iter().all(|&p| p >= min && p <= 1.0 + 1e-12), "{row:?}");
    }
}

/// Losses of every kind: ordinary, equal, huge, not finite.
fn any_loss() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -2.0..2.0f64,
        2 => Just(0.5),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => any::<f64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn theta_stays_a_distribution(
        counts in prop::collection::vec(1usize..12, 1..8),
        steps in prop::collection::vec(prop::collection::vec(any_loss(), 1..7), 1..80),
        seed: u64,
        fixed_step: bool,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let options = AsngOptions { fixed_step, ..AsngOptions::default() };
        let mut asng = Asng::new(Categorical::uniform(&counts), options);
        for losses in steps {
            let samples: Vec<_> = losses.iter().map(|_| asng.theta().sample(&mut rng)).collect();
            let before = asng.clone();
            let outcome = asng.update(&samples, &losses);
            assert_distribution(asng.theta());
            prop_assert!(asng.delta().is_finite() && asng.delta() > 0.0);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&asng.gamma()));
            prop_assert!(!fixed_step || asng.delta() == 1.0);
            if outcome != UpdateOutcome::Updated {
                prop_assert_eq!(&asng, &before);
            }
            let none_finite = losses.iter().all(|f| !f.is_finite());
            prop_assert_eq!(outcome == UpdateOutcome::SkippedNonFinite, none_finite);
        }
    }

    #[test]
    fn equal_and_non_finite_losses_change_nothing(loss in any_loss(), lambda in 1usize..7, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut asng = Asng::new(Categorical::uniform(&[11; 18]), AsngOptions::default());
        let before = asng.clone();
        let samples: Vec<_> = (0..lambda).map(|_| asng.theta().sample(&mut rng)).collect();
        let outcome = asng.update(&samples, &vec![loss; lambda]);
        let expected = if loss.is_finite() {
            UpdateOutcome::SkippedEqual
        } else {
            UpdateOutcome::SkippedNonFinite
        };
        prop_assert_eq!(outcome, expected);
        prop_assert_eq!(asng, before);
    }

    #[test]
    fn draws_lie_within_the_intervals(indices in prop::collection::vec(0usize..11, 18), seed: u64) {
        let policy = Policy::from_indices(&Space::default(), &indices);
        prop_assert!(policy.check().is_ok());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let inside = |i: Interval, x: f64| x >= i.low && x <= i.high;
        for _ in 0..20 {
            let d = draw(&policy, 3, Axes::ALL, &mut rng);
            if let Some(e) = d.elastic {
                prop_assert!(inside(policy.elastic_alpha, e.alpha));
                prop_assert!(inside(policy.elastic_sigma, e.sigma));
            }
            if let Some([x, y, z]) = d.rotation {
                prop_assert!(inside(policy.rotation_x, x));
                prop_assert!(inside(policy.rotation_y, y));
                prop_assert!(inside(policy.rotation_z, z));
            }
            prop_assert!(d.scale.is_none_or(|s| inside(policy.scale, s)));
            if let Some(gamma) = d.gamma {
                prop_assert_eq!(gamma.len(), 3);
                prop_assert!(gamma.iter().all(|g| inside(policy.gamma, *g)));
            }
        }
    }

    #[test]
    fn same_seed_same_draws(seed: u64, sample: u32) {
        let key = StreamKey { seed, fold: 0, epoch: 1, iteration: 2, sample, candidate: 0 };
        let policy = Policy::nnunet();
        let first = draw(&policy, 2, Axes::ALL, &mut key.rng());
        prop_assert_eq!(&first, &draw(&policy, 2, Axes::ALL, &mut key.rng()));
        let text = serde_json::to_string(&first).unwrap();
        let back: Draw = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(first.mirror, back.mirror);
        prop_assert_eq!(first.elastic.map(|e| e.key), back.elastic.map(|e| e.key));
    }
}

/// Share of `true` among n draws must lie within five standard errors of p.
fn assert_share(what: &str, hits: usize, n: usize, p: f64) {
    let error = 5.0 * (p * (1.0 - p) / n as f64).sqrt() + 1e-12;
    let share = hits as f64 / n as f64;
    assert!((share - p).abs() <= error, "{what}: {share} instead of {p}");
}

fn many(policy: &Policy, n: usize) -> Vec<Draw> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    (0..n).map(|_| draw(policy, 2, Axes::ALL, &mut rng)).collect()
}

#[test]
fn transforms_come_as_often_as_the_policy_says() {
    let n = 20_000;
    let policy =
        Policy { p_elastic: 0.1, p_rotation: 0.9, p_scale: 1.0, p_gamma: 0.5, ..Policy::nnunet() };
    let draws = many(&policy, n);
    let count = |f: &dyn Fn(&Draw) -> bool| draws.iter().filter(|d| f(d)).count();
    assert_share("elastic", count(&|d| d.elastic.is_some()), n, 0.1);
    assert_share("rotation", count(&|d| d.rotation.is_some()), n, 0.9);
    assert_share("scale", count(&|d| d.scale.is_some()), n, 1.0);
    assert_share("gamma", count(&|d| d.gamma.is_some()), n, 0.5);
    // Below and above 1 equally often, though the interval 0.85..1.25 is lopsided.
    assert_share("shrunk", count(&|d| d.scale.is_some_and(|s| s < 1.0)), n, 0.5);
    for axis in 0..3 {
        assert_share("mirror", count(&|d| d.mirror[axis]), n, 0.5);
    }
    // Magnitudes are uniform: every tenth of an interval comes as often. Scale and gamma are so on
    // either side of 1.
    let assert_uniform = |what: &str, low: f64, high: f64, of: &dyn Fn(&Draw) -> Option<f64>| {
        let inside = |v: &f64| (low..=high).contains(v);
        let values: Vec<f64> = draws.iter().filter_map(of).filter(inside).collect();
        assert!(values.len() > 800, "{what}");
        for tenth in 0..10 {
            let bin = |v: f64| (((v - low) / (high - low) * 10.0) as usize).min(9);
            let hits = values.iter().filter(|v| bin(**v) == tenth).count();
            assert_share(&format!("{what}, tenth {tenth}"), hits, values.len(), 0.1);
        }
    };
    assert_uniform("alpha", 0.0, 900.0, &|d| d.elastic.map(|e| e.alpha));
    assert_uniform("sigma", 9.0, 13.0, &|d| d.elastic.map(|e| e.sigma));
    for axis in 0..3 {
        assert_uniform("angle", -15.0, 15.0, &|d| d.rotation.map(|angles| angles[axis]));
    }
    assert_uniform("small scale", 0.85, 1.0, &|d| d.scale);
    assert_uniform("large scale", 1.0, 1.25, &|d| d.scale);
    for channel in 0..2 {
        assert_uniform("small gamma", 0.7, 1.0, &|d| d.gamma.as_ref().map(|g| g[channel]));
        assert_uniform("large gamma", 1.0, 1.5, &|d| d.gamma.as_ref().map(|g| g[channel]));
    }
    // The angles of a draw are independent of each other.
    let turned: Vec<[f64; 3]> = draws.iter().filter_map(|d| d.rotation).collect();
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        let product: f64 = turned.iter().map(|angles| angles[a] * angles[b]).sum();
        let correlation = product / turned.len() as f64 / (15.0 * 15.0 / 3.0);
        assert!(correlation.abs() < 5.0 / (turned.len() as f64).sqrt(), "{a} {b}: {correlation}");
    }
    let none = many(&Policy::none(), 1000);
    assert!(none.iter().all(|d| d.elastic.is_none() && d.gamma.is_none() && !d.is_warp()));
    let still = draw(&policy, 1, Axes::NONE, &mut ChaCha8Rng::seed_from_u64(1));
    assert_eq!(still.mirror, [false; 3]);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..100 {
        let turned = draw(&Policy::none(), 1, Axes([true, false, true]), &mut rng);
        assert!(!turned.mirror[1]);
    }
}

#[test]
fn trivial_draws_exactly_one_transform() {
    let n = 20_000;
    let draws = many(&Policy::trivial(&Space::default()), n);
    let mut counts = [0usize; 4];
    for d in &draws {
        let on = [d.elastic.is_some(), d.rotation.is_some(), d.scale.is_some(), d.gamma.is_some()];
        assert_eq!(on.iter().filter(|x| **x).count(), 1);
        on.iter().zip(&mut counts).for_each(|(on, count)| *count += usize::from(*on));
    }
    counts.iter().for_each(|&c| assert_share("one of four", c, n, 0.25));
    let scales: Vec<f64> = draws.iter().filter_map(|d| d.scale).collect();
    let low = scales.iter().filter(|s| **s < 0.75).count();
    assert_share("uniform over 0.5..1.5", low, scales.len(), 0.25);
}

/// The draws are part of the format: a change here breaks reproducibility.
#[test]
fn the_stream_of_draws_is_fixed() {
    let key = StreamKey { seed: 42, fold: 1, epoch: 2, iteration: 3, sample: 1, candidate: 1 };
    let policy =
        Policy { p_elastic: 1.0, p_rotation: 1.0, p_scale: 1.0, p_gamma: 1.0, ..Policy::nnunet() };
    let d = draw(&policy, 2, Axes::ALL, &mut key.rng());
    let text = serde_json::to_string(&d).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"elastic":{"alpha":175.64517607939896,"sigma":9.483794458272834,"#,
            r#""key":6396726147629152503},"#,
            r#""rotation":[3.141974672448029,1.2077997651989243,14.010775127368696],"#,
            r#""scale":0.9419665930427353,"gamma":[0.7843368833603986,0.8144923654296562],"#,
            r#""mirror":[true,false,true]}"#
        )
    );
}

#[test]
fn asng_finds_the_better_policies() {
    let space = Space::default();
    let theta = SearchInit::Uniform.theta(&space).unwrap();
    let mut searcher = AsngSearcher::new(space.clone(), theta, AsngOptions::default());
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..3000 {
        let candidates = searcher.ask(&mut rng, 2);
        let losses: Vec<f64> =
            candidates.iter().map(|c| c.policy.p_gamma - c.policy.p_elastic).collect();
        searcher.tell(&candidates, &losses);
    }
    let policy = searcher.policy();
    assert_eq!((policy.p_gamma, policy.p_elastic), (0.0, 1.0));
    let theta = searcher.theta().unwrap();
    assert!(theta.mean_entropy() < 11f64.ln());
    assert_distribution(theta);
}

#[test]
fn policy_gradients_find_the_better_policies_and_go_on_identically() {
    let space = Space::default();
    let start = || Reinforce::new(space.clone(), SearchInit::Uniform.theta(&space).unwrap());
    let go = |searcher: &mut Reinforce, rng: &mut ChaCha8Rng, rounds: usize| {
        for _ in 0..rounds {
            let candidates = searcher.ask(rng, 2);
            let losses: Vec<f64> =
                candidates.iter().map(|c| c.policy.p_gamma - c.policy.p_elastic).collect();
            searcher.tell(&candidates, &losses);
        }
    };
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut first = start();
    go(&mut first, &mut rng, 2000);
    let policy = first.policy();
    assert!(policy.p_gamma <= 0.1 && policy.p_elastic >= 0.9, "{policy:?}");
    for row in first.theta().unwrap().rows() {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12 && row.iter().all(|p| *p > 0.0));
    }
    let saved = serde_json::to_string(&first.state()).unwrap();
    let mut second = start();
    second.restore(&serde_json::from_str(&saved).unwrap()).unwrap();
    let mut rng_2 = rng.clone();
    go(&mut first, &mut rng, 50);
    go(&mut second, &mut rng_2, 50);
    assert_eq!(first.state(), second.state());
    for bad in ["null", "{}", "[{\"logits\": [[0.0]], \"moments\": null}, [[1.0]]]"] {
        assert!(foreign(second.restore(&serde_json::from_str(bad).unwrap())), "{bad}");
    }
}

/// Whether a state was refused as that of another searcher.
fn foreign(restored: asng_wgpu::Result<()>) -> bool {
    restored.is_err_and(|e| e.to_string().contains("does not fit the searcher"))
}

#[test]
fn a_restored_search_goes_on_identically() {
    let space = Space::default();
    let start = || {
        let theta = SearchInit::Default.theta(&space).unwrap();
        AsngSearcher::new(space.clone(), theta, AsngOptions::default())
    };
    let go = |searcher: &mut AsngSearcher, rng: &mut ChaCha8Rng| {
        for _ in 0..50 {
            let candidates = searcher.ask(rng, 2);
            let losses: Vec<f64> = candidates.iter().map(|c| c.policy.p_scale.sin()).collect();
            searcher.tell(&candidates, &losses);
        }
    };
    let mut first = start();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    go(&mut first, &mut rng);
    let saved = serde_json::to_string(&first.state()).unwrap();
    let mut second = start();
    second.restore(&serde_json::from_str(&saved).unwrap()).unwrap();
    let mut rng_2 = rng.clone();
    go(&mut first, &mut rng);
    go(&mut second, &mut rng_2);
    assert_eq!(first.state(), second.state());

    for bad in ["null", "{}", "{\"theta\": 3}"] {
        assert!(foreign(second.restore(&serde_json::from_str(bad).unwrap())), "{bad}");
    }
    let few = space.probabilities();
    let theta = SearchInit::Uniform.theta(&few).unwrap();
    let mut other = AsngSearcher::new(few, theta, AsngOptions::default());
    assert!(foreign(other.restore(&first.state())));
    assert!(foreign(Constant::none().restore(&first.state())));
    assert!(Constant::none().restore(&Constant::none().state()).is_ok());
}

#[test]
fn the_other_searchers_do_not_learn() {
    let space = Space::default();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let searchers: [Box<dyn Searcher>; 4] = [
        Box::new(Constant::nnunet()),
        Box::new(Constant::none()),
        Box::new(Constant::trivial(&space)),
        Box::new(Frozen::random(space)),
    ];
    for (mut searcher, name) in searchers.into_iter().zip(["default", "none", "trivial", "random"])
    {
        assert_eq!(searcher.name(), name);
        let before = searcher.policy();
        let candidates = searcher.ask(&mut rng, 3);
        assert_eq!(candidates.len(), 3);
        assert_eq!(searcher.tell(&candidates, &[1.0, 2.0, 3.0]), Outcome::NotLearning);
        assert!(!searcher.learns() && searcher.policy() == before);
        candidates.iter().for_each(|c| c.policy.check().unwrap());
    }
}

#[test]
fn a_search_starts_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.json");
    let space = Space::default();
    let near = SearchInit::Near.theta(&space).unwrap();
    assert!(near.rows().iter().all(|row| row.iter().filter(|&&p| p == 0.9).count() == 1));
    assert_eq!(near.most_probable(), space.nearest(&Policy::nnunet()));
    let theta = SearchInit::Default.theta(&space).unwrap();
    assert_eq!(theta.rows()[0][0], 0.5);
    assert!((theta.rows()[0][1] - 0.05).abs() < 1e-15);
    let mut file = PolicyFile {
        version: VERSION,
        space: space.clone(),
        theta: Some(theta.clone()),
        policy: Policy::from_indices(&space, &theta.most_probable()),
        dataset: "demo".into(),
        seed: 1,
        run: "demo".into(),
    };
    file.write(&path).unwrap();
    let init = SearchInit::parse(&path.to_string_lossy());
    let read = init.theta(&space).unwrap();
    assert_eq!(read.most_probable(), theta.most_probable());
    let why = init.theta(&space.probabilities()).unwrap_err().to_string();
    assert!(why.contains("another space"), "{why}");
    assert!(fixed_from(file.clone()).0.theta().is_some());
    file.theta = None;
    file.policy.set(Field::PGamma, 1.0);
    file.write(&path).unwrap();
    let why = init.theta(&space).unwrap_err().to_string();
    assert!(why.contains("it has no theta"), "{why}");
    assert_eq!(fixed_from(file).0.policy().p_gamma, 1.0);
}
