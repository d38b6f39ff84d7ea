//! What long work shows: a bar with the time left on a terminal, and of a training plain lines.

use super::say;
use crate::data::preprocess::Progress;
use crate::phase::Phase;
use crate::train::{Epoch, Event};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::time::Duration;

/// A bar on stderr; hidden with `--quiet` and where stderr is no terminal.
pub(super) fn bar(length: u64, template: &str) -> ProgressBar {
    let target = match super::quiet() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr_with_hz(4),
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.with_key("left", left));
    }
    bar
}

/// The time left, once there is something to tell it by.
fn left(state: &ProgressState, out: &mut dyn Write) {
    if state.pos() > 0 && !state.eta().is_zero() {
        let _ = write!(out, "{:#} left", HumanDuration(state.eta()));
    }
}

/// The parts of long work on stderr: each has a bar of its own on a terminal, and elsewhere a line.
#[derive(Default)]
pub(super) struct Phases {
    current: Option<(String, ProgressBar)>,
}

impl Phases {
    /// Begins a part of unknown length, unless it is under way.
    pub fn begin(&mut self, name: &str) {
        self.begin_of(name, None);
    }

    /// `done` of `of` steps, such as cases, of a part are done; the part begins where it has not.
    pub fn count(&mut self, name: &str, step: &str, done: usize, of: usize) {
        self.begin_of(name, Some((of, step)));
        if let Some((_, bar)) = &self.current {
            bar.set_position(done as u64);
        }
    }

    fn begin_of(&mut self, name: &str, steps: Option<(usize, &str)>) {
        if self.current.as_ref().is_some_and(|(known, _)| known == name) {
            return;
        }
        self.finish();
        let bar = match steps {
            Some((of, _)) => bar(of as u64, "{prefix}  {wide_bar} {pos}/{len}  {left}  {msg}"),
            None => bar(0, "{prefix}  {spinner} {elapsed}  {msg}"),
        };
        if bar.is_hidden() {
            say(&match steps {
                Some((1, step)) => format!("{name} 1 {step}"),
                Some((of, step)) => format!("{name} {of} {step}s"),
                None => name.to_owned(),
            });
        } else {
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        self.current = Some((name.to_owned(), bar));
    }

    /// What is being done within the part.
    pub fn message(&self, text: &str) {
        if let Some((_, bar)) = &self.current {
            bar.set_message(text.to_owned());
        }
    }

    /// Prints lines above the bar.
    pub fn line(&self, print: impl FnOnce()) {
        match &self.current {
            Some((_, bar)) => bar.suspend(print),
            None => print(),
        }
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        if let Some((_, bar)) = self.current.take() {
            bar.finish_and_clear();
        }
    }
}

/// The progress of a training, on stderr.
pub(super) struct TrainProgress {
    phases: Phases,
    epochs: u64,
    iterations: u64,
    /// Iterations that were done before.
    before: Option<u64>,
}

impl TrainProgress {
    /// For a training with this number of epochs, and of iterations per epoch.
    pub fn new(epochs: u64, iterations: u64) -> Self {
        TrainProgress { phases: Phases::default(), epochs, iterations, before: None }
    }

    /// Shows an event: lines stay, bars move on.
    pub fn show(&mut self, event: Event) {
        let all = self.epochs.saturating_mul(self.iterations) as usize;
        match event {
            Event::Note(sentence) => self.phases.line(|| say(sentence)),
            // Each has a bar with a length, which its first step tells.
            Event::Begin(Phase::Training | Phase::Validating) => self.phases.finish(),
            Event::Begin(phase) => self.phases.begin(phase.name()),
            Event::Preparing(Progress { what, done, of }) => {
                self.phases.count(what, "case", done, of);
            }
            Event::Iteration { done, loss } => {
                let epoch = (done.saturating_sub(1)) / self.iterations + 1;
                let before = *self.before.get_or_insert(done - 1);
                let (now, left) = ((done - before) as usize, all - before as usize);
                self.phases.count(Phase::Training.name(), "iteration", now, left);
                self.phases.message(&format!("epoch {epoch}/{}  loss {loss:.4}", self.epochs));
            }
            Event::OnlineValidation => self.phases.message("validating"),
            Event::Validating { number, cases, name } => {
                self.phases.count(Phase::Validating.name(), "case", number, cases);
                self.phases.message(name);
            }
            Event::Epoch(epoch) => {
                let line = epoch_line(epoch, self.epochs);
                self.phases.line(|| say(&line));
            }
        }
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        self.phases.finish();
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
