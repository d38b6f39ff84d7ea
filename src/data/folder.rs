//! Which cases the volumes of a folder are, by their names and the channels that their headers
//! announce: whole images, one file per channel (`CASE_0000`, `CASE_0001`...), and strays.

use super::dataset::Case;
use super::names::{case_name, channel_file, channel_of, file_name, split_ending};
use super::nifti::read_header;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The images of a folder.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// Sorted by name, without labels. Where a channel's file is missing, its path is there
    /// nevertheless. Two files of one case and channel make two cases of one name.
    pub cases: Vec<Case>,
    /// Volumes of no case: of a channel that no case has, or without channel number beside files
    /// that have one.
    pub strays: Vec<PathBuf>,
}

/// A volume that may be a channel of a case.
struct Channel<'a> {
    case: String,
    number: usize,
    path: &'a Path,
}

/// Sorts the volumes of one folder into cases of `channels` channels. With several channels the
/// header decides what `CASE_0000` is: a file of all channels is a case of that name, a file of one
/// channel is a part of `CASE`. With one channel the names of the other files decide: see
/// [`is_series`]; `numbered`: the cases of the training set have names of that form, so that only
/// `CASE_0000_0000` has a channel number.
pub fn images_of(volumes: &[PathBuf], channels: usize, numbered: bool) -> Images {
    let (mut parts, mut plain) = (Vec::new(), Vec::new());
    for path in volumes {
        match channel_of(&case_name(path)) {
            Some((case, number)) if channels > 1 || !numbered || channel_of(case).is_some() => {
                parts.push(Channel { case: case.to_owned(), number, path });
            }
            _ => plain.push(path.as_path()),
        }
    }
    if channels > 1 {
        parts_by_header(&mut parts, &mut plain);
    } else if !numbered && is_series(&parts, plain.len()) {
        plain.extend(parts.drain(..).map(|part| part.path));
    }
    let (parts, mut strays): (Vec<Channel>, Vec<Channel>) =
        parts.into_iter().partition(|part| part.number < channels.max(1));
    if parts.is_empty() {
        plain.extend(strays.drain(..).map(|part| part.path));
    }
    let mut images = Images::default();
    images.strays.extend(strays.iter().map(|part| part.path.to_owned()));
    let whole = match parts.is_empty() {
        true => plain,
        false => {
            let (whole, others) = whole_beside_channels(&plain, channels);
            images.strays.extend(others.into_iter().map(Path::to_owned));
            whole
        }
    };
    images.cases = grouped(&parts, channels);
    images.cases.extend(whole.into_iter().map(|path| Case {
        name: case_name(path),
        images: vec![path.to_owned()],
        label: None,
    }));
    images.cases.sort_by(|a, b| (&a.name, &a.images).cmp(&(&b.name, &b.images)));
    images.strays.sort();
    images
}

/// Whether a file holds more than one of `channels` channels; `None` where it cannot be read.
fn holds_several(path: &Path) -> Option<bool> {
    read_header(path).ok().map(|header| header.channels > 1)
}

/// Moves the files with a number that hold a whole image from `parts` to `whole`. Files that cannot
/// be read are taken as most of the others are.
fn parts_by_header<'a>(parts: &mut Vec<Channel<'a>>, whole: &mut Vec<&'a Path>) {
    let several: Vec<Option<bool>> = parts.iter().map(|part| holds_several(part.path)).collect();
    let count = |what: bool| several.iter().filter(|s| **s == Some(what)).count();
    let unreadable = count(true) > count(false);
    let mut taken = several.into_iter().map(|s| s.unwrap_or(unreadable));
    let mut others = Vec::new();
    for part in parts.drain(..) {
        if taken.next() == Some(true) {
            whole.push(part.path);
        } else {
            others.push(part);
        }
    }
    *parts = others;
}

/// Whether files `CASE_0000` of images with one channel are a series of cases rather than files of
/// channel 0: no file has the number 0, most files have no number, or all have one name and
/// several numbers (one number far off is a stray).
fn is_series(parts: &[Channel], plain: usize) -> bool {
    let first = parts.iter().filter(|part| part.number == 0).count();
    let one_name = parts.windows(2).all(|w| w[0].case == w[1].case);
    let mut more: Vec<usize> = parts.iter().map(|part| part.number).filter(|&n| n > 0).collect();
    more.dedup();
    first < plain.max(1) || (one_name && (more.len() > 1 || more == [1]))
}

/// Of the files without a number beside channel files, those that are whole images of several
/// channels, and the others. Files that cannot be read are whole images where others are.
fn whole_beside_channels<'a>(
    plain: &[&'a Path],
    channels: usize,
) -> (Vec<&'a Path>, Vec<&'a Path>) {
    if channels < 2 {
        return (Vec::new(), plain.to_vec());
    }
    let several: Vec<Option<bool>> = plain.iter().map(|path| holds_several(path)).collect();
    let unreadable = several.contains(&Some(true));
    let pairs = plain.iter().zip(several);
    let (whole, others): (Vec<_>, Vec<_>) = pairs.partition(|(_, s)| s.unwrap_or(unreadable));
    let paths = |list: Vec<(&&'a Path, Option<bool>)>| list.into_iter().map(|(p, _)| *p).collect();
    (paths(whole), paths(others))
}

/// Cases of channel files.
fn grouped(parts: &[Channel], channels: usize) -> Vec<Case> {
    let mut by_case: BTreeMap<&str, BTreeMap<usize, &Path>> = BTreeMap::new();
    let mut twice = Vec::new();
    for part in parts {
        let files = by_case.entry(&part.case).or_default();
        if files.insert(part.number, part.path).is_some() {
            let images = vec![part.path.to_owned()];
            twice.push(Case { name: part.case.clone(), images, label: None });
        }
    }
    let case = |(name, files): (&str, BTreeMap<usize, &Path>)| {
        let sibling = |number: usize| {
            let (_, path) = files.first_key_value()?;
            let file = file_name(path);
            Some(path.with_file_name(channel_file(name, number, split_ending(&file).1)))
        };
        let file = |number: usize| match files.get(&number) {
            Some(path) => Some(path.to_path_buf()),
            None => sibling(number),
        };
        let images = (0..channels.max(1)).filter_map(file).collect();
        Case { name: name.to_owned(), images, label: None }
    };
    by_case.into_iter().map(case).chain(twice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::nifti::{Header, write_image};

    /// Cases as "name number-of-files" and strays of a folder with these files of one channel, those
    /// marked `*` of two, those marked `!` unreadable.
    fn read(files: &str, channels: usize, numbered: bool) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for file in files.split_whitespace() {
            let name = file.trim_end_matches(['*', '!']);
            let path = folder.path().join(format!("{name}.nii"));
            let count = if file.ends_with('*') { 2 } else { 1 };
            let header = Header::plain([1, 1, 1], [1.0; 3]);
            write_image(&path, &vec![1.0; count], count, [1, 1, 1], &header).unwrap();
            if file.ends_with('!') {
                std::fs::write(&path, "no volume").unwrap();
            }
            paths.push(path);
        }
        paths.sort();
        let images = images_of(&paths, channels, numbered);
        let there = |case: &Case| case.images.iter().filter(|p| p.is_file()).count();
        let case = |case: &Case| format!("{} {}/{}", case.name, there(case), case.images.len());
        let strays = images.strays.iter().map(|p| case_name(p)).collect::<Vec<_>>();
        (images.cases.iter().map(case).collect::<Vec<_>>().join(", "), strays.join(" "))
    }

    #[test]
    fn the_header_decides_with_several_channels() {
        for (files, cases, strays) in [
            ("a_0000 a_0001 b_0000 b_0001", "a 2/2, b 2/2", ""),
            ("word_0000* word_0001*", "word_0000 1/1, word_0001 1/1", ""),
            ("word_0000*", "word_0000 1/1", ""),
            // One that cannot be read is as the others.
            ("word_0000* word_0001! word_0002*", "word_0000 1/1, word_0001 1/1, word_0002 1/1", ""),
            ("a_0000 a_0001!", "a 2/2", ""),
            ("a_0000 b_0001", "a 1/2, b 1/2", ""),
            ("a_0000 a_0001 a_0007 foo b_2023", "a 2/2", "a_0007 b_2023 foo"),
            ("a_0000 a_0001 whole* broken!", "a 2/2, broken 1/1, whole 1/1", ""),
            ("a_0000 a_0001 broken!", "a 2/2", "broken"),
            ("x y_2023", "x 1/1, y_2023 1/1", ""),
        ] {
            assert_eq!(read(files, 2, false), (cases.into(), strays.into()), "{files}");
        }
    }

    #[test]
    fn the_other_names_decide_with_one_channel() {
        for (files, numbered, cases, strays) in [
            ("a_0000 b_0000", false, "a 1/1, b 1/1", ""),
            ("a_0000", false, "a 1/1", ""),
            ("a_0000", true, "a_0000 1/1", ""),
            ("a_0001_0000 a_0002_0000", true, "a_0001 1/1, a_0002 1/1", ""),
            ("a_0001_0000 a_0002_0000", false, "a_0001 1/1, a_0002 1/1", ""),
            ("a_0000 b_0000 b_0007 foo", false, "a 1/1, b 1/1", "b_0007 foo"),
            ("a_0000 a_0007 foo", false, "a 1/1", "a_0007 foo"),
            ("w_0000 w_0001", false, "w_0000 1/1, w_0001 1/1", ""),
            ("w_0000 w_0003 w_0009", false, "w_0000 1/1, w_0003 1/1, w_0009 1/1", ""),
            ("w_0004 v_2023", false, "v_2023 1/1, w_0004 1/1", ""),
            ("a b c_0000", false, "a 1/1, b 1/1, c_0000 1/1", ""),
        ] {
            assert_eq!(read(files, 1, numbered), (cases.into(), strays.into()), "{files}");
        }
    }
}
