//! The cases of a fold by what a training does with them; from names alone, before any work.

use super::options::{SearchValidation, TrainOptions};
use crate::data::dataset::Dataset;
use crate::data::patients::{Patients, patients};
use crate::data::split::{self, Fold};
use crate::error::{Error, Result};
use crate::run::FoldId;

/// The folds of the file that the options name, else the data set's own. A single case has none, and
/// can still train the network on all cases.
///
/// # Errors
/// As reading the split.
pub(super) fn folds(options: &TrainOptions, dataset: &Dataset) -> Result<Vec<Fold>> {
    let names = dataset.labelled_names();
    match &options.splits {
        Some(path) => split::folds_from(path, &names),
        None if options.fold == FoldId::Full && names.len() == 1 => Ok(Vec::new()),
        None => split::folds(dataset),
    }
}

/// The cases of the options' fold.
///
/// # Errors
/// [`Error::Usage`] where the split lacks the fold.
pub(super) fn fold_of(options: &TrainOptions, dataset: &Dataset, split: &[Fold]) -> Result<Fold> {
    match options.fold {
        FoldId::Full => Ok(split::full(dataset.labelled_names())),
        FoldId::Number(number) => split.get(number).cloned().ok_or_else(|| {
            Error::Usage(format!(
                "--fold {number} does not exist; use 0 to {}, all for each of them, or full for \
                 one network on all cases",
                split.len() - 1
            ))
        }),
    }
}

/// The names of a fold's training cases while a policy is searched.
pub(super) struct FoldParts {
    /// Those that train the weights.
    pub weights: Vec<String>,
    /// Those that judge candidates; none without a search.
    pub search: Vec<String>,
}

/// Splits a fold for the search that the options ask for; from names alone, before any work.
///
/// # Errors
/// [`Error::Input`] where the fold has too few cases for it.
pub(super) fn fold_parts(
    fold: &Fold,
    patients: Option<&Patients>,
    options: &TrainOptions,
    searching: bool,
) -> Result<FoldParts> {
    let (weights, search) = match (searching, options.search.validation) {
        (false, _) => (fold.train.clone(), Vec::new()),
        (true, SearchValidation::Fold) if fold.val.is_empty() => {
            return Err(Error::Input(
                "the fold has no validation cases, on which --search-val fold evaluates the \
                 candidates of the search; use --search-val inner or --searcher default"
                    .into(),
            ));
        }
        (true, SearchValidation::Fold) => (fold.train.clone(), fold.val.clone()),
        (true, SearchValidation::Inner) => {
            split::inner_split_of(&fold.train, patients, options.search.share, options.seed)?
        }
    };
    Ok(FoldParts { weights, search })
}

/// Sentences about the folds that are too small for the search that the options ask for.
///
/// # Errors
/// As opening the split and the patients.
pub(super) fn unsearchable(options: &TrainOptions, dataset: &Dataset) -> Result<Vec<String>> {
    let patients = patients(&dataset.dir, &dataset.labelled_names())?;
    let folds = folds(options, dataset)?;
    Ok(split::unsearchable(&folds, |fold| {
        fold_parts(fold, patients.as_ref(), options, true).map(drop)
    }))
}
