//! The feeds of a training, opened where it stands.

use super::feed::{Feed, LeftOut, Span};
use super::iteration::batches_an_iteration;
use super::options::TrainOptions;
use super::setup::{Cases, Setup};
use crate::data::rng::Purpose;
use crate::error::Result;

/// Opens the feeds of a training where it stands.
pub(super) struct Feeds<'a> {
    pub options: &'a TrainOptions,
    pub setup: &'a Setup,
    /// The epoch from which nothing is searched and all training cases are used.
    pub frozen_from: u64,
    /// Cases that cannot be read.
    pub left_out: &'a [LeftOut],
}

impl Feeds<'_> {
    /// Batches for the weights from an iteration of an epoch on: of the cases that the search
    /// leaves until it is over, then of all.
    pub fn training(&self, epoch: u64, iteration: u64) -> Result<Feed> {
        let (cases, iterations) = (&self.setup.cases, self.options.iterations);
        let (cases, epochs) = match epoch < self.frozen_from {
            true => (&cases.weights, (0, self.frozen_from)),
            false => (&cases.train, (self.frozen_from, self.options.epochs)),
        };
        let search = &self.options.search;
        let each = batches_an_iteration(search.lambda, search.updates) as u64;
        let skip = ((epoch - epochs.0) * iterations + iteration) * each;
        self.open(cases, Purpose::Patches, Span { epochs, batches: iterations * each, skip })
    }

    /// Batches that judge candidates from an iteration of an epoch on; where there is a search.
    /// Each policy step takes `--search-batches` of them.
    pub fn search(&self, epoch: u64, iteration: u64) -> Result<Option<Feed>> {
        if self.frozen_from == 0 {
            return Ok(None);
        }
        let (iterations, search) = (self.options.iterations, &self.options.search);
        let steps = epoch * iterations.div_ceil(search.every) + iteration.div_ceil(search.every);
        let span = Span {
            epochs: (0, self.frozen_from),
            batches: iterations * search.batches,
            skip: steps * search.batches,
        };
        self.open(&self.setup.cases.search, Purpose::SearchPatches, span).map(Some)
    }

    /// Batches of the online validation after `epoch` epochs; where there are validation cases.
    pub fn validation(&self, epoch: u64, batches: u64) -> Result<Option<Feed>> {
        if self.setup.cases.validation.is_empty() {
            return Ok(None);
        }
        let skip = epoch / self.options.validate_every * batches;
        let span = Span { epochs: (0, self.options.epochs), batches, skip };
        self.open(&self.setup.cases.validation, Purpose::ValidationPatches, span).map(Some)
    }

    fn open(&self, cases: &Cases, purpose: Purpose, span: Span) -> Result<Feed> {
        let patch = self.setup.config.plan.patch;
        Feed::new(cases, self.options, patch, purpose, span, self.left_out)
    }
}
