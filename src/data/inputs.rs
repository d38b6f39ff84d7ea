//! Images to predict: files, folders of files in either layout, and lists of these.

use super::dataset::Case;
use super::folder::{Images, images_of};
use super::names::{Listing, case_name, named};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The cases of the inputs.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Without labels, sorted by name. A channel file that is missing is listed nevertheless.
    pub cases: Vec<Case>,
    /// Sentences about files that are skipped and channels that are missing.
    pub notes: Vec<String>,
}

/// The cases that `inputs` name, each a file; a folder of NIfTI files, one per case, or one per
/// channel with names that end in `_0000`, `_0001`... ([`images_of`]); or a `.txt` file whose lines
/// name files or folders, relative to the list's folder (empty lines and lines that begin with `#`
/// are comments). A file means what it means among the files of its folder, so that one channel
/// names its case. `numbered`: as for [`images_of`].
///
/// # Errors
/// Nothing there, no NIfTI file in it, no case with all `channels`, or two files of one case.
pub fn find_images(inputs: &[PathBuf], channels: usize, numbered: bool) -> Result<Inputs> {
    let mut finder =
        Finder { channels, numbered, folders: BTreeMap::new(), found: Inputs::default() };
    for input in inputs {
        if input.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt")) {
            for path in listed(input)? {
                finder.add(&path)?;
            }
        } else {
            finder.add(input)?;
        }
    }
    let whole = match inputs {
        [one] => format!("'{}'", one.display()),
        [first, rest @ ..] => format!("'{}' and {} more inputs", first.display(), rest.len()),
        [] => return Err(Error::Usage("no input is given; name images or their folder".into())),
    };
    let mut found = finder.found;
    found.cases.sort_by(|a, b| (&a.name, &a.images).cmp(&(&b.name, &b.images)));
    found.cases.dedup();
    if let Some(w) = found.cases.windows(2).find(|w| w[0].name == w[1].name) {
        return Err(Error::Input(format!(
            "{whole} holds two files of the case '{}'; remove one",
            w[0].name
        )));
    }
    check_channels(&mut found, channels, &whole)?;
    Ok(found)
}

/// Notes cases without all channel files.
///
/// # Errors
/// [`Error::Input`] where no case is complete.
fn check_channels(found: &mut Inputs, channels: usize, whole: &str) -> Result<()> {
    let mut complete = 0;
    for case in &found.cases {
        let missing: Vec<&PathBuf> = case.images.iter().filter(|p| !p.is_file()).collect();
        if missing.is_empty() {
            complete += 1;
            continue;
        }
        found.notes.push(format!(
            "warning: the case '{}' in {whole} has {} of the {channels} channel files: {} {} missing; add what is missing",
            case.name,
            case.images.len() - missing.len(),
            named(&missing),
            if missing.len() == 1 { "is" } else { "are" },
        ));
    }
    match found.cases.first() {
        Some(case) if complete == 0 => Err(Error::Input(format!(
            "the case '{}' in {whole} has {} of the {channels} channel files _0000, _0001..., and no other case is complete; add the missing files",
            case.name,
            case.images.iter().filter(|p| p.is_file()).count(),
        ))),
        _ => Ok(()),
    }
}

/// The paths that a list names.
fn listed(list: &Path) -> Result<Vec<PathBuf>> {
    let text = crate::files::read_text(list).map_err(|e| Error::io("read the list", list, e))?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let paths: Vec<PathBuf> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| folder.join(line))
        .collect();
    if paths.is_empty() {
        return Err(Error::Input(format!(
            "the list '{}' names no file; write one path per line",
            list.display()
        )));
    }
    if let Some(path) = paths.iter().find(|p| !p.exists()) {
        return Err(Error::Input(format!(
            "the list '{}' names '{}', which does not exist; paths are relative to the list's folder",
            list.display(),
            path.display()
        )));
    }
    Ok(paths)
}

/// Collects cases; each folder is read once.
struct Finder {
    channels: usize,
    numbered: bool,
    folders: BTreeMap<PathBuf, (Images, Vec<PathBuf>)>,
    found: Inputs,
}

impl Finder {
    fn add(&mut self, input: &Path) -> Result<()> {
        if input.is_file() {
            return self.add_file(input);
        }
        let (images, others) = self.folder(input)?;
        if images.cases.is_empty() {
            return Err(Error::Input(format!(
                "'{}' holds no .nii or .nii.gz file; name the folder of the images",
                input.display()
            )));
        }
        let mut strays: Vec<&PathBuf> = images.strays.iter().chain(others).collect();
        strays.sort();
        let note = match &strays[..] {
            [] => None,
            [one] => Some(format!(
                "warning: {} in '{}' is no image of a case and is skipped; rename or remove it",
                named(&[one]),
                input.display()
            )),
            all => Some(format!(
                "warning: {} files in '{}' are no images of a case and are skipped: {}; rename or remove them",
                all.len(),
                input.display(),
                named(all)
            )),
        };
        let cases = images.cases.clone();
        self.found.cases.extend(cases);
        self.found.notes.extend(note);
        Ok(())
    }

    /// A file that was named: the case that it belongs to among the files of its folder, else a case
    /// of its own.
    fn add_file(&mut self, file: &Path) -> Result<()> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let (images, _) = self.folder(folder)?;
        let name = file.file_name();
        let holds = |case: &&Case| case.images.iter().any(|image| image.file_name() == name);
        let case = images.cases.iter().find(holds).cloned();
        self.found.cases.push(case.unwrap_or_else(|| Case {
            name: case_name(file),
            images: vec![file.to_owned()],
            label: None,
        }));
        Ok(())
    }

    /// The images of a folder, and its other files.
    fn folder(&mut self, folder: &Path) -> Result<&(Images, Vec<PathBuf>)> {
        use std::collections::btree_map::Entry;
        match self.folders.entry(folder.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let at = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                let listing =
                    Listing::of(at).map_err(|e| Error::io("read the input", folder, e))?;
                let mut listing = listing;
                if folder.as_os_str().is_empty() {
                    // As the user wrote the files.
                    let bare =
                        |p: &mut PathBuf| *p = PathBuf::from(p.file_name().unwrap_or_default());
                    listing.volumes.iter_mut().for_each(bare);
                }
                let images = images_of(&listing.volumes, self.channels, self.numbered);
                Ok(new.insert((images, listing.others)))
            }
        }
    }
}
