//! What the headers of a data set say of it, before any volume is read.

use super::fingerprint::{CaseFacts, Fingerprint};
use crate::data::dataset::Dataset;
use crate::data::nifti::read_header;

/// The fingerprint of a data set as far as headers tell: volumes count as a whole, and CT channels
/// have no intensities. Headers that cannot be read are passed over: whoever reads the cases says what
/// is wrong with them.
pub fn survey_headers(dataset: &Dataset) -> Fingerprint {
    let facts = dataset.cases.iter().filter_map(|case| {
        let header = read_header(case.images.first()?).ok()?;
        let (shape, spacing_mm) = (header.shape(), header.spacing_mm());
        Some(CaseFacts { name: case.name.clone(), shape, crop_shape: shape, spacing_mm })
    });
    let normalisation = dataset.normalisation();
    let ct = vec![None; normalisation.len()];
    Fingerprint { reorient: false, cases: facts.collect(), ct, normalisation }
}
