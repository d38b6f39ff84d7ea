//! What a policy step costs: iterations of a search against plain ones on the same samples.

mod common;

use asng_wgpu::gpu::{AdapterChoice, Gpu};
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::train::{Rehearsal, Rehearsed};
use common::{Against, Bench, Result, Work};

/// Candidates of an iteration.
const LAMBDA: usize = 2;

/// Patch, features, levels; and whether --quick leaves it out.
const NETWORKS: &[([u32; 3], u32, u32, bool)] =
    &[([40, 56, 40], 12, 4, false), ([64, 64, 64], 32, 5, true)];

fn main() -> Result<()> {
    let mut bench = Bench::start("search")?;
    for &(patch, features, levels, long) in NETWORKS {
        if bench.quick && long {
            continue;
        }
        let [d, h, w] = patch;
        let network = format!("{d}x{h}x{w} b2 f{features} l{levels}");
        let mut works = Vec::new();
        let mut kinds = Vec::new();
        for (name, how) in [
            ("plain, the same samples", Rehearsed::Plain(LAMBDA)),
            ("shared", Rehearsed::Shared(LAMBDA)),
            ("paper", Rehearsed::Paper(LAMBDA)),
        ] {
            let case = format!("iteration {name} {network}");
            if !bench.wants(&case) {
                continue;
            }
            let plan = NetworkPlan::from_spacing(1, 3, features, patch, 2, [1.0; 3], levels);
            let choice = AdapterChoice { device: bench.adapter.clone(), ..Default::default() };
            let mut rehearsal = Rehearsal::new(Gpu::open(&choice, false)?, plan, how)?;
            rehearsal.iteration()?;
            let batches = if name == "paper" { 2 * LAMBDA } else { LAMBDA };
            // Loss and gradient alone, so that the share falls by what the search adds.
            let work = rehearsal.learn_flops * batches as u64;
            let run = Box::new(move |_: &Gpu| rehearsal.iteration().map(|_| ()));
            works.push(Work { case, work, run });
            kinds.push(name);
        }
        let rounds = if bench.quick || long { 3 } else { 5 };
        let ms = bench.works(Against::MultiplyAdd, rounds, &mut works)?;
        let mut named = kinds.iter().zip(&ms);
        let Some((_, plain)) = named.next().filter(|(kind, _)| kind.starts_with("plain")) else {
            continue;
        };
        for (kind, ms) in named {
            println!("  {kind} over plain steps on the same batches: {:.2}", ms / plain);
        }
    }
    Ok(())
}
