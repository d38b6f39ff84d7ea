//! What long work shows: a bar with the time left on a terminal, and of a training plain lines.

use super::say;
use crate::data::preprocess::Progress;
use crate::train::{Epoch, Event};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on stderr; hidden with `--quiet` and where stderr is no terminal.
pub(super) fn bar(length: u64, template: &str) -> ProgressBar {
    let target = match super::quiet() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr_with_hz(4),
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// The progress of a training, on stderr.
pub(super) struct TrainProgress {
    bar: ProgressBar,
    epochs: u64,
    iterations: u64,
}

impl TrainProgress {
    /// A bar over all iterations.
    pub fn new(epochs: u64, iterations: u64) -> Self {
        let template = "{msg}  {wide_bar} {pos}/{len}  {eta} left";
        let bar = bar(epochs.saturating_mul(iterations), template);
        TrainProgress { bar, epochs, iterations }
    }

    /// Shows an event: lines stay, the bar moves on.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Note(sentence) => self.line(sentence),
            Event::Preparing(Progress { what, done, of }) => {
                self.bar.set_message(format!("{what} cases, {done} of {of}"));
            }
            Event::Iteration { done, loss } => {
                let epoch = (done.saturating_sub(1)) / self.iterations + 1;
                self.bar.set_message(format!("epoch {epoch}/{}  loss {loss:.4}", self.epochs));
                self.bar.set_position(done);
            }
            Event::Validating { number, cases, name } => {
                self.bar.set_message(format!("validation {}/{cases}  {name}", number + 1));
            }
            Event::Epoch(epoch) => self.line(&epoch_line(epoch, self.epochs)),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| say(text));
    }
}

/// A bar over the cases of a data set, on stderr; hidden with `--quiet` and where stderr is no
/// terminal.
pub(super) struct CaseProgress(ProgressBar);

impl CaseProgress {
    pub fn new() -> Self {
        let target = match super::quiet() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(4),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}  {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        CaseProgress(bar)
    }

    /// Prints a sentence above the bar.
    pub fn line(&self, sentence: &str) {
        self.0.suspend(|| say(sentence));
    }

    /// `done` of `of` cases are through what is said.
    pub fn show(&mut self, what: &str, done: usize, of: usize) {
        self.0.set_length(of as u64);
        self.0.set_position(done as u64);
        self.0.set_message(format!("{what} cases"));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// `epoch 12/200  loss -0.7123  val -0.6981  dice 0.874 0.861  lr 2.8e-4  delta 0.83  H 2.21
/// 14.2 s (augment 3% policy 22%)`, in one line.
fn epoch_line(epoch: &Epoch, epochs: u64) -> String {
    let mut parts = vec![format!("epoch {}/{epochs}", epoch.epoch)];
    parts.push(format!("loss {:.4}", epoch.loss));
    if let Some(loss) = epoch.val_loss {
        parts.push(format!("val {loss:.4}"));
    }
    if !epoch.dice.is_empty() {
        let one = |d: &Option<f64>| d.map_or("-".to_string(), |v| format!("{v:.3}"));
        let dice: Vec<String> = epoch.dice.iter().map(one).collect();
        parts.push(format!("dice {}", dice.join(" ")));
    }
    parts.push(format!("lr {:.1e}", epoch.learning_rate));
    parts.extend(epoch.delta.map(|delta| format!("delta {delta:.2}")));
    parts.extend(epoch.mean_entropy.map(|entropy| format!("H {entropy:.2}")));
    let percent = |share: f64| (share * 100.0).round();
    let mut shares = Vec::new();
    for (name, share) in [("augment", epoch.augment_share), ("policy", epoch.policy_share)] {
        if share > 0.0 {
            shares.push(format!("{name} {}%", percent(share)));
        }
    }
    let shares = if shares.is_empty() { String::new() } else { format!(" ({})", shares.join(" ")) };
    parts.push(format!("{:.1} s{shares}", epoch.seconds));
    if epoch.skipped > 0 {
        parts.push(format!("{} step(s) skipped: non-finite gradient", epoch.skipped));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_one_line() {
        let epoch = Epoch {
            epoch: 12,
            loss: -0.71234,
            val_loss: Some(-0.6981),
            dice: vec![Some(0.874), None],
            dice_average: Some(0.87),
            learning_rate: 2.8e-4,
            seconds: 14.2,
            validation_seconds: 1.5,
            augment_share: 0.031,
            policy_share: 0.22,
            skipped: 0,
            unreadable: 0,
            delta: Some(0.83),
            mean_entropy: Some(2.21),
            search_loss: Some(-0.6),
        };
        assert_eq!(
            epoch_line(&epoch, 200),
            "epoch 12/200  loss -0.7123  val -0.6981  dice 0.874 -  lr 2.8e-4  delta 0.83  \
             H 2.21  14.2 s (augment 3% policy 22%)"
        );
    }
}
