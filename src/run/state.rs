//! The state of a training under way: all that going on from it needs.
//!
//! A state is a checkpoint of weights with the optimizer's moments as further tensors and a record
//! of the training as a text. The last two are kept, so that a damaged one costs little.

use super::checkpoint::{network_texts, weight_tensors, weights_of};
use super::container::{Container, Tensor, encode};
use super::{CheckpointKind, FoldId, checkpoint_path, fold_folder};
use crate::error::{Error, Result};
use crate::files;
use crate::nn::unet::UNet;
use std::path::{Path, PathBuf};

/// Layout of a state, the record included, that is written and read.
pub const STATE_VERSION: u32 = 1;

/// Text that holds the layout's version.
const VERSION: &str = "state_version";
/// Text that holds the record.
const RECORD: &str = "state";
/// What the names of the moments' tensors begin with.
const MOMENT: &str = "optimizer.";

/// A training under way.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Flat parameters.
    pub weights: Vec<f32>,
    /// The optimizer's moments by name, each as long as the parameters.
    pub moments: Vec<(String, Vec<f32>)>,
    /// Where the training is, as JSON.
    pub record: String,
}

/// A state that was found.
#[derive(Debug)]
pub struct FoundState {
    /// The network.
    pub net: UNet,
    /// The training.
    pub state: State,
    /// The file.
    pub path: PathBuf,
    /// The latest state, where it is damaged and this is the one before it.
    pub damaged: Option<PathBuf>,
}

impl FoundState {
    /// Renames a damaged latest state, so that the next one does not push the good one out.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn set_damaged_aside(damaged: &Path) -> Result<()> {
        std::fs::rename(damaged, aside(damaged)).map_err(|e| Error::io("rename", damaged, e))
    }
}

/// The name of a damaged state that is set aside.
fn aside(damaged: &Path) -> PathBuf {
    damaged.with_file_name("checkpoint_damaged.safetensors")
}

/// The files of a fold's states: the latest, and the one before it.
pub fn state_paths(run: &Path, fold: impl Into<FoldId>) -> [PathBuf; 2] {
    let fold = fold.into();
    let previous = fold_folder(run, fold).join("checkpoint_previous.safetensors");
    [checkpoint_path(run, fold, CheckpointKind::Last), previous]
}

/// Writes a state after `epoch` whole epochs; the latest so far becomes the previous one.
///
/// # Errors
/// [`Error::Io`] naming the path; the earlier states stay intact.
pub fn write_state(
    run: &Path,
    fold: impl Into<FoldId>,
    net: &UNet,
    state: &State,
    epoch: u64,
) -> Result<()> {
    let [last, previous] = state_paths(run, fold);
    let mut texts = network_texts(net, epoch)?;
    texts.push((VERSION, STATE_VERSION.to_string()));
    texts.push((RECORD, state.record.clone()));
    let mut tensors = weight_tensors(net, &state.weights);
    let names: Vec<String> =
        state.moments.iter().map(|(name, _)| format!("{MOMENT}{name}")).collect();
    for (name, (_, values)) in names.iter().zip(&state.moments) {
        tensors.push(Tensor { name, shape: vec![values.len()], values });
    }
    files::replace_keeping(&last, &previous, &encode(&last, &texts, &tensors)?)
}

/// The latest complete state of a fold; none where there are no states.
/// A damaged latest state is named in a `note`, and the previous one taken. Nothing is written.
///
/// # Errors
/// [`Error::Input`] where no state is complete, or one is of another layout; [`Error::Io`].
pub fn find_state(
    run: &Path,
    fold: impl Into<FoldId>,
    note: &mut dyn FnMut(&str),
) -> Result<Option<FoundState>> {
    let fold = fold.into();
    let [last, previous] = state_paths(run, fold);
    let damage = match read(&last)? {
        Read::Complete(found) => return Ok(Some(*found)),
        Read::Missing => None,
        Read::Damaged(why) => Some(why),
    };
    match (read(&previous)?, damage) {
        (Read::Complete(found), None) => Ok(Some(*found)),
        (Read::Complete(found), Some(why)) => {
            note(&format!(
                "warning: {why}; it is renamed to '{}', and the training resumes from '{}'",
                aside(&last).display(),
                previous.display()
            ));
            Ok(Some(FoundState { damaged: Some(last), ..*found }))
        }
        (Read::Missing, None) => Ok(None),
        (Read::Missing, Some(why)) | (Read::Damaged(why), _) => Err(Error::Input(format!(
            "{why}, and there is no other state; the training cannot go on, so give another --out"
        ))),
    }
}

/// What reading a state came to.
enum Read {
    Complete(Box<FoundState>),
    Missing,
    /// It is damaged; a clause that names the file and says how.
    Damaged(String),
}

fn read(path: &Path) -> Result<Read> {
    let file = match Container::read(path) {
        Ok(file) => file,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Read::Missing);
        }
        Err(Error::Input(_)) => return Ok(damaged(path, "its content is not what was written")),
        Err(error) => return Err(error),
    };
    let foreign = |what: String| {
        Error::Input(format!("'{}' {what}; give another --out to train anew", path.display()))
    };
    match file.text(VERSION) {
        None if file.is_checked() || file.text("plan").is_some() => {
            return Err(foreign(
                "holds weights but no state of a training, as an older version of this program \
                 left it, so the training cannot go on"
                    .into(),
            ));
        }
        Some(_) if !file.is_checked() => return Ok(damaged(path, "it has no checksum")),
        Some(version) if version != STATE_VERSION.to_string() => {
            return Err(foreign(format!(
                "is a state of version {version}, written by version {} of this program, and this \
                 one reads version {STATE_VERSION}, so go on with the program that wrote it",
                file.text("version").unwrap_or("?")
            )));
        }
        Some(_) => {}
        None => return Ok(damaged(path, "it is no state of a training")),
    }
    let (net, weights) = weights_of(&file)?;
    let mut moments = Vec::new();
    for name in file.names() {
        if let Some(moment) = name.strip_prefix(MOMENT) {
            moments.push((moment.to_owned(), file.tensor(name, weights.len())?.to_vec()));
        }
    }
    let record = file.text(RECORD).ok_or_else(|| file.wrong("it has no record"))?.to_owned();
    let (state, path) = (State { weights, moments, record }, path.to_owned());
    Ok(Read::Complete(Box::new(FoundState { net, state, path, damaged: None })))
}

fn damaged(path: &Path, how: &str) -> Read {
    Read::Damaged(format!("'{}' is damaged ({how})", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::plan::NetworkPlan;
    use crate::run::{read_weights, write_checkpoint};

    struct Fixture {
        folder: tempfile::TempDir,
        net: UNet,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("fold_0")).unwrap();
            let plan = NetworkPlan::from_spacing(1, 2, 4, [16, 16, 16], 1, [1.0; 3], 2);
            Fixture { folder, net: UNet::new(plan) }
        }

        fn state(&self, number: u64) -> State {
            let weights = self.net.parameters.initial(number);
            let moment = |k: f32| weights.iter().map(|w| w * k).collect();
            let moments = vec![("m".into(), moment(0.5)), ("v".into(), moment(2.0))];
            State { weights, moments, record: format!("{{\"number\":{number}}}") }
        }

        fn write(&self, number: u64) {
            write_state(self.folder.path(), 0, &self.net, &self.state(number), number).unwrap();
        }

        fn paths(&self) -> [PathBuf; 2] {
            state_paths(self.folder.path(), 0)
        }

        /// The state that is found, and the notes.
        fn find(&self) -> (Result<Option<State>>, Vec<String>) {
            let mut notes = Vec::new();
            let found = find_state(self.folder.path(), 0, &mut |n| notes.push(n.to_owned()));
            (found.map(|f| f.map(|f| f.state)), notes)
        }

        /// The state that is found without a note.
        fn found(&self) -> Option<State> {
            let (found, notes) = self.find();
            assert!(notes.is_empty(), "{notes:?}");
            found.unwrap()
        }
    }

    fn cut(path: &Path) {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    }

    #[test]
    fn the_last_two_states_are_kept_and_the_latest_is_found() {
        let f = Fixture::new();
        assert_eq!(f.found(), None);
        (1..=3).for_each(|n| f.write(n));
        assert_eq!(f.found(), Some(f.state(3)));
        let [last, previous] = f.paths();
        assert_eq!(read_weights(&last).unwrap().1, f.state(3).weights);
        assert_eq!(read_weights(&previous).unwrap().1, f.state(2).weights);
        assert_eq!(std::fs::read_dir(f.folder.path().join("fold_0")).unwrap().count(), 2);
        // Killed between the two renames.
        std::fs::remove_file(&last).unwrap();
        assert_eq!(f.found(), Some(f.state(2)));
    }

    #[test]
    fn a_damaged_state_is_named_and_replaced_by_the_previous_one() {
        let f = Fixture::new();
        (1..=2).for_each(|n| f.write(n));
        let [last, previous] = f.paths();
        cut(&last);
        let damaged = std::fs::read(&last).unwrap();
        let (found, notes) = f.find();
        assert_eq!(found.unwrap(), Some(f.state(1)));
        assert!(notes[0].contains("checkpoint_last.safetensors' is damaged"), "{notes:?}");
        // Looking changes nothing; set aside, the damaged one does not push the good one out.
        assert!(std::fs::read(&last).unwrap() == damaged);
        let found = find_state(f.folder.path(), 0, &mut |_| ()).unwrap().unwrap();
        assert_eq!(found.damaged.as_ref(), Some(&last));
        FoundState::set_damaged_aside(&last).unwrap();
        f.write(3);
        assert_eq!(read_weights(&previous).unwrap().1, f.state(1).weights);
        cut(&last);
        cut(&previous);
        assert!(f.find().0.unwrap_err().to_string().contains("--out"));
        std::fs::remove_file(&last).unwrap();
        assert!(f.find().0.unwrap_err().to_string().contains("checkpoint_previous"));
    }

    #[test]
    fn states_of_other_layouts_are_refused_and_stay() {
        let f = Fixture::new();
        f.write(1);
        f.write(2);
        let [last, _] = f.paths();
        let State { weights, record, .. } = f.state(2);
        write_checkpoint(&last, &f.net, &weights, 2).unwrap();
        assert!(f.find().0.unwrap_err().to_string().contains("older version"));
        let mut texts = network_texts(&f.net, 2).unwrap();
        texts.extend([(VERSION, "99".to_owned()), (RECORD, record)]);
        let bytes = encode(&last, &texts, &weight_tensors(&f.net, &weights)).unwrap();
        std::fs::write(&last, bytes).unwrap();
        assert!(f.find().0.unwrap_err().to_string().contains("version 99"));
        assert!(last.exists());
    }
}
