//! Every golden file of a folder through the real kernels, in every variant of this device.
//! `ASNG_WGPU_GOLDEN` names another folder of the same formats. Of the project's own folder, what
//! runs and what each file holds beyond it is stored in `tests/snapshots/golden.txt`.

mod common;
#[path = "support/require.rs"]
mod require;
#[path = "support/snapshot.rs"]
mod snapshot;

use asng_wgpu::ops::ConvVariant;
use common::{Covered, Golden, HEAVY, Outcome, golden_folder, gpu};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What became of one file.
enum Fate {
    Ran(Ran),
    /// Nothing of it concerns this engine, for this reason.
    Unknown(String),
}

/// A file that was run.
struct Ran {
    op: String,
    /// Whether it is run in each variant of the convolutions, or once.
    by_variant: bool,
    runs: Vec<Run>,
    /// Tensors of the file that no run asked for.
    unread: Vec<String>,
}

/// One variant's run of a file.
struct Run {
    variant: String,
    outcome: Outcome,
    seconds: f64,
}

/// How an op's files are run: each variant gives an outcome.
enum Runner<'a> {
    Once(&'a dyn Fn() -> Outcome),
    ByVariant(&'a dyn Fn(ConvVariant) -> Outcome),
}

fn variants() -> Vec<ConvVariant> {
    ConvVariant::available(gpu().caps())
}

fn timed(variant: &str, run: impl FnOnce() -> Outcome) -> Run {
    let start = Instant::now();
    let outcome = run();
    Run { variant: variant.to_owned(), outcome, seconds: start.elapsed().as_secs_f64() }
}

/// A file that cannot be read is a failure of one run.
fn broken(why: String) -> Fate {
    let runs = vec![timed("", || Err(why))];
    Fate::Ran(Ran { op: String::new(), by_variant: false, runs, unread: vec![] })
}

fn safetensors(path: &Path) -> Fate {
    let golden = match Golden::load(path) {
        Ok(golden) => golden,
        Err(why) => return broken(why),
    };
    let g = &golden;
    use Runner::{ByVariant, Once};
    // An op's name is its first words; what follows tells which library it is taken from.
    let ops: [(&str, Runner); 19] = [
        ("conv3d", ByVariant(&|v| common::conv::run_golden(g, gpu(), v))),
        ("conv_transpose3d", ByVariant(&|v| common::conv::run_golden(g, gpu(), v))),
        ("instance_norm3d", Once(&|| common::dense::run_norm(g, gpu()))),
        ("leaky_relu", Once(&|| common::dense::run_norm(g, gpu()))),
        ("softmax+CE+softDice", Once(&|| common::dense::run_loss(g, gpu()))),
        ("deep supervision", Once(&|| common::dense::run_deep_supervision(g, gpu()))),
        ("label downsampling", Once(&|| common::dense::run_downsample(g, gpu()))),
        ("adam", Once(&|| common::dense::run_optimizer(g, gpu()))),
        ("sgd", Once(&|| common::dense::run_optimizer(g, gpu()))),
        ("Generic_UNet", ByVariant(&|v| common::unet::run(g, gpu(), v))),
        ("sliding window gaussian", Once(&|| common::window::run_weights(g))),
        ("sliding window prediction", ByVariant(&|v| common::window::run_prediction(g, gpu(), v))),
        ("SpatialTransform", Once(&|| common::spatial::run_spatial(g, gpu()))),
        ("map_coordinates", Once(&|| common::spatial::run_map_coordinates(g, gpu()))),
        ("gaussian_filter", Once(&|| common::spatial::run_gaussian(g, gpu()))),
        ("gamma", Once(&|| common::gamma::run_golden(g, gpu()))),
        ("z-score", Once(&|| common::host_ops::run_zscore(g))),
        ("resample", Once(&|| common::resample::run(g))),
        ("metrics", Once(&|| common::host_ops::run_metrics(g))),
    ];
    let Some((_, runner)) = ops.iter().find(|(name, _)| golden.op.starts_with(name)) else {
        return Fate::Unknown(format!("the engine has no op '{}'", golden.op));
    };
    let (by_variant, runs) = match runner {
        Once(run) => (false, vec![timed("", run)]),
        ByVariant(run) => {
            (true, variants().into_iter().map(|v| timed(v.name(), || run(v))).collect())
        }
    };
    let unread = golden.unread();
    Fate::Ran(Ran { op: golden.op, by_variant, runs, unread })
}

fn json(path: &Path) -> Fate {
    match common::host_ops::run_asng(path) {
        Ok(Some(())) => {
            let runs = vec![timed("", common::all)];
            Fate::Ran(Ran { op: "search".into(), by_variant: false, runs, unread: vec![] })
        }
        Ok(None) => Fate::Unknown("no run of the search".into()),
        Err(why) => broken(why),
    }
}

/// What a list of files came to.
#[derive(Default)]
struct Tally {
    passed: usize,
    failures: Vec<String>,
    /// Files that the engine does not know.
    unknown: Vec<String>,
    /// A line a file, the same on every device.
    covered: String,
    /// The ops and variants that ran.
    ran: BTreeSet<(String, String)>,
    /// Those that should.
    wanted: BTreeSet<(String, String)>,
}

impl Tally {
    fn file(&mut self, file: &str, fate: Fate) {
        let ran = match fate {
            Fate::Unknown(why) => {
                println!("unknown {file}: {why}");
                self.unknown.push(format!("{file}: {why}"));
                return;
            }
            Fate::Ran(ran) => ran,
        };
        // Where the name of an op goes on, it tells how its files were made.
        let op = ran.op.split('(').next().unwrap_or_default().trim().to_owned();
        let mut parts = BTreeSet::new();
        for Run { variant, outcome, seconds } in ran.runs {
            self.wanted.insert((op.clone(), variant.clone()));
            let title =
                if variant.is_empty() { file.into() } else { format!("{file} ({variant})") };
            match outcome {
                Ok(Covered::Nothing(reason)) => {
                    println!("skipped {title}: {reason}");
                    if reason != HEAVY {
                        parts.insert(format!("everything ({reason})"));
                    }
                }
                Ok(Covered::Except(left_out)) => {
                    self.passed += 1;
                    self.ran.insert((op.clone(), variant));
                    println!("passed  {title} [{seconds:.1} s]");
                    left_out.iter().for_each(|part| println!("    skipped part: {part}"));
                    parts.extend(left_out.into_iter().filter(|part| !part.contains(HEAVY)));
                }
                Err(why) => {
                    println!("FAILED  {title}: {why}");
                    self.failures.push(format!("{title}: {why}"));
                }
            }
        }
        let how = if ran.by_variant { "in every variant" } else { "once" };
        self.covered += &format!("{file}: {}, {how}\n", ran.op);
        parts.iter().for_each(|part| self.covered += &format!("{file} leaves out {part}\n"));
        // What is left out for a reason is not read either.
        let named = |name: &String| parts.iter().any(|part| part.starts_with(&format!("{name} (")));
        for name in ran.unread.iter().filter(|name| !named(name)) {
            self.covered += &format!("{file} does not read {name}\n");
        }
    }
}

#[test]
fn golden() {
    let (folder, own) = golden_folder();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let mut tally = Tally::default();
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let fate = match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => safetensors(path),
            Some("json") => json(path),
            _ => Fate::Unknown("its name ends in neither .safetensors nor .json".into()),
        };
        tally.file(&name, fate);
    }
    let Tally { passed, failures, unknown, covered, ran, wanted } = tally;
    println!("{passed} passed, {} failed, {} unknown", failures.len(), unknown.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(passed > 0, "no golden file in {}", folder.display());
    if own || require::is_required("golden") {
        assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
    }
    if own {
        snapshot::snapshot("golden.txt", &covered);
        assert_eq!(ran, wanted, "the ops and variants that ran, and those that should");
    }
}
