//! The parameters of a U-Net in one flat buffer, under Generic_UNet's own names and order.

use super::plan::NetworkPlan;
use crate::gpu::SlotId;
use crate::ops::ParamRef;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;

/// Elements between the beginnings of two parameters are a multiple of this (256 bytes).
pub const ALIGNMENT: u64 = 64;

/// What a parameter is, which decides its initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weight of a convolution; fan in as given.
    Weight {
        /// Inputs of one output value.
        fan_in: u32,
    },
    /// Zero at the start.
    Bias,
    /// One at the start.
    Scale,
}

/// One parameter of the network.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Generic_UNet's name.
    pub name: String,
    /// Shape as PyTorch has it.
    pub shape: Vec<u32>,
    /// First element in the flat buffer.
    pub offset: u64,
    /// Its role.
    pub role: Role,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.shape.iter().map(|&e| u64::from(e)).product()
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All parameters of a plan.
#[derive(Clone, Debug)]
pub struct Parameters {
    list: Vec<Parameter>,
    index: HashMap<String, usize>,
    elements: u64,
}

/// Names of the parameters of block `b` (0 or 1) of encoder level `level`.
pub fn encoder_block(plan: &NetworkPlan, level: usize, b: usize) -> String {
    if level + 1 == plan.levels() {
        format!("conv_blocks_context.{level}.{b}.blocks.0")
    } else {
        format!("conv_blocks_context.{level}.blocks.{b}")
    }
}

/// Names of the parameters of block `b` (0 or 1) of decoder step `u` (0 = deepest).
pub fn decoder_block(u: usize, b: usize) -> String {
    format!("conv_blocks_localization.{u}.{b}.blocks.0")
}

impl Parameters {
    /// Lists the parameters of a plan in Generic_UNet's order.
    pub fn new(plan: &NetworkPlan) -> Self {
        let mut all = Parameters { list: Vec::new(), index: HashMap::new(), elements: 0 };
        let steps = plan.pools.len();
        for u in 0..steps {
            let level = steps - 1 - u;
            let features = plan.features(level);
            let kernel = plan.kernels[level + 1];
            all.block(&decoder_block(u, 0), 2 * features, features, kernel);
            all.block(&decoder_block(u, 1), features, features, kernel);
        }
        for level in 0..plan.levels() {
            let features = plan.features(level);
            let input = if level == 0 { plan.in_channels } else { plan.features(level - 1) };
            all.block(&encoder_block(plan, level, 0), input, features, plan.kernels[level]);
            all.block(&encoder_block(plan, level, 1), features, features, plan.kernels[level]);
        }
        for u in 0..steps {
            let level = steps - 1 - u;
            let [d, h, w] = plan.pools[level];
            let (deep, shallow) = (plan.features(level + 1), plan.features(level));
            // PyTorch takes the second axis of a transposed weight for its fan in.
            let role = Role::Weight { fan_in: shallow * d * h * w };
            all.add(&format!("tu.{u}.weight"), vec![deep, shallow, d, h, w], role);
        }
        for u in 0..steps {
            let features = plan.features(steps - 1 - u);
            let role = Role::Weight { fan_in: features };
            let shape = vec![plan.classes, features, 1, 1, 1];
            all.add(&format!("seg_outputs.{u}.weight"), shape, role);
        }
        all
    }

    fn block(&mut self, name: &str, input: u32, output: u32, [d, h, w]: [u32; 3]) {
        let fan_in = input * d * h * w;
        let shape = vec![output, input, d, h, w];
        self.add(&format!("{name}.conv.weight"), shape, Role::Weight { fan_in });
        self.add(&format!("{name}.conv.bias"), vec![output], Role::Bias);
        self.add(&format!("{name}.instnorm.weight"), vec![output], Role::Scale);
        self.add(&format!("{name}.instnorm.bias"), vec![output], Role::Bias);
    }

    fn add(&mut self, name: &str, shape: Vec<u32>, role: Role) {
        let parameter = Parameter { name: name.to_owned(), shape, offset: self.elements, role };
        self.elements += parameter.len().next_multiple_of(ALIGNMENT);
        self.index.insert(name.to_owned(), self.list.len());
        self.list.push(parameter);
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.list.iter()
    }

    /// Elements of the flat buffer, alignment included.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Trainable values.
    pub fn count(&self) -> u64 {
        self.list.iter().map(Parameter::len).sum()
    }

    /// A parameter by name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&i| &self.list[i])
    }

    /// A parameter's place in the flat buffer `slot`.
    pub fn place(&self, slot: SlotId, name: &str) -> Option<ParamRef> {
        self.get(name).map(|p| ParamRef { slot, offset: p.offset, len: p.len() })
    }

    /// Runs of elements that the optimizer steps over: all but the heads whose loss weight is 0
    /// (they have no gradient at all, so not even weight decay moves them).
    pub fn trained_ranges(&self, head_weights: &[f32]) -> Vec<(u64, u64)> {
        let heads = head_weights.len();
        let frozen = |name: &str| {
            (0..heads).any(|u| {
                head_weights[heads - 1 - u] == 0.0 && name == format!("seg_outputs.{u}.weight")
            })
        };
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for parameter in self.list.iter().filter(|p| !frozen(&p.name)) {
            let len = parameter.len().next_multiple_of(ALIGNMENT);
            match ranges.last_mut() {
                Some((start, length)) if *start + *length == parameter.offset => *length += len,
                _ => ranges.push((parameter.offset, len)),
            }
        }
        ranges
    }

    /// Initial values (flat, alignment gaps 0): weights Kaiming normal with fan in and leaky
    /// slope 0.01, std = sqrt(2 / (1.0001 fan_in)) (He et al. 2015); biases 0; norm scales 1.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut values = vec![0f32; self.elements as usize];
        for parameter in &self.list {
            let start = parameter.offset as usize;
            let run = &mut values[start..start + parameter.len() as usize];
            match parameter.role {
                Role::Bias => {}
                Role::Scale => run.fill(1.0),
                Role::Weight { fan_in } => {
                    let std = (2.0 / (1.0001 * f64::from(fan_in))).sqrt();
                    run.fill_with(|| (std * normal(&mut rng)) as f32);
                }
            }
        }
        values
    }
}

/// A standard normal value by Box and Muller (1958); two words of the stream a value.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let unit = |word: u64| ((word >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let (a, b) = (unit(rng.next_u64()), unit(rng.next_u64()));
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> NetworkPlan {
        NetworkPlan::from_spacing(2, 3, 8, [24, 32, 16], 2, [1.0; 3], 3)
    }

    #[test]
    fn count_agrees_with_the_reference_network() {
        assert_eq!(Parameters::new(&plan()).count(), 85592);
    }

    #[test]
    fn initial_values_have_the_stated_spread() {
        let parameters = Parameters::new(&plan());
        let values = parameters.initial(7);
        let p = parameters.get("conv_blocks_context.2.1.blocks.0.conv.weight").unwrap();
        let run = &values[p.offset as usize..(p.offset + p.len()) as usize];
        let variance = run.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / run.len() as f64;
        let expected = 2.0 / (1.0001 * 32.0 * 27.0);
        assert!((variance / expected - 1.0).abs() < 0.05, "{variance} {expected}");
        assert_eq!(values, parameters.initial(7));
        assert_ne!(values, parameters.initial(8));
    }

    #[test]
    fn a_head_without_weight_is_not_trained() {
        let parameters = Parameters::new(&plan());
        let all: u64 = parameters.trained_ranges(&[0.5, 0.5]).iter().map(|r| r.1).sum();
        let some: u64 = parameters.trained_ranges(&[1.0, 0.0]).iter().map(|r| r.1).sum();
        assert_eq!(all, parameters.elements());
        assert_eq!(all - some, 64);
    }
}
