//! `asng-wgpu policy sample FILE|RUN|default`.

use super::Source;
use super::show::number;
use crate::cli::print;
use crate::cli::table::table;
use crate::error::{Error, Result};
use crate::search::policy::Policy;
use crate::search::space::Field;
use serde_json::json;

/// Most policies of one call.
const MOST: u64 = 100_000;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu policy sample runs/heart --count 5 --seed 1

A row a policy, a column a number of it: low and high bounds in voxels, factors, degrees and
exponents, and the probabilities. Row N is the policy of draw N of `augment --policy` with the same
seed; a fixed policy gives the same row each time.")]
pub(super) struct Sample {
    #[command(flatten)]
    source: Source,
    /// Number of policies.
    #[arg(long, default_value_t = 10)]
    count: u64,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Sample {
    pub(super) fn run(&self) -> Result<()> {
        if self.count == 0 || self.count > MOST {
            return Err(Error::Usage(format!(
                "--count {} cannot be drawn; use 1 to {MOST}",
                self.count
            )));
        }
        let (path, file) = self.source.read()?;
        let policies: Vec<Policy> = (0..self.count).map(|n| file.sample(self.seed, n)).collect();
        if !self.json {
            return print(&table(&rows(&policies)));
        }
        let root = json!({
            "source": path.display().to_string(),
            "seed": self.seed,
            "sampled": file.theta.is_some(),
            "policies": policies,
        });
        let text = serde_json::to_string_pretty(&root)
            .map_err(|e| Error::Input(format!("the policies cannot be printed: {e}")))?;
        print(&text)
    }
}

/// Three lines of head, so that columns stay narrow, then a row a policy.
fn rows(policies: &[Policy]) -> Vec<Vec<String>> {
    let heads = Field::ALL.map(head);
    let mut rows: Vec<Vec<String>> = (0..3)
        .map(|line| {
            let first = if line == 2 { "draw" } else { "" };
            let words = heads.iter().map(|words| words[line]);
            std::iter::once(first).chain(words).map(String::from).collect()
        })
        .collect();
    for (n, policy) in policies.iter().enumerate() {
        let numbers = Field::ALL.map(|field| number(policy.get(field)));
        rows.push(std::iter::once(n.to_string()).chain(numbers).collect());
    }
    rows
}

/// The words of a field's name on three lines, the lowest filled first.
fn head(field: Field) -> [&'static str; 3] {
    let mut lines = [""; 3];
    for (slot, word) in lines.iter_mut().rev().zip(field.name().rsplit('_')) {
        *slot = word;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_name_in_lines() {
        assert_eq!(head(Field::RotationXLow), ["rotation", "x", "low"]);
        assert_eq!(head(Field::PScale), ["", "p", "scale"]);
        let rows = rows(&[Policy::nnunet()]);
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[3][..4], ["0", "0", "900", "9"]);
        assert!(rows.iter().all(|row| row.len() == 19));
    }
}
