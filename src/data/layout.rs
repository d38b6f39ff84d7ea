//! The training cases of a data set: those that `dataset.json` lists, as the Decathlon and nnU-Net v1
//! do, or those of the folders `imagesTr` and `labelsTr`, as nnU-Net v2 does.

use super::dataset::{Case, Faults, Remark, Topic};
use super::keys;
use super::names::{
    Listing, case_name, channel_file, channel_of, ending_of, file_name, is_hidden, is_volume,
    named, split_ending,
};
use super::nifti::read_header;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// The folder of the training images.
const IMAGES: &str = "imagesTr";
/// The folder of their label maps.
const LABELS: &str = "labelsTr";

/// The labelled training cases: by the object `dataset`; else of a file in nnU-Net v2's form
/// (`channel_names` or `file_ending`) by the folders, where these hold channel files; else by the list
/// `training`; else by the folders.
///
/// # Errors
/// A folder that cannot be listed.
pub(super) fn cases(
    dir: &Path,
    root: &Map<String, Value>,
    channels: usize,
    faults: &mut Faults,
) -> Result<Vec<Case>> {
    let ending = keys::file_ending(root, faults);
    let folders = Folders::read(dir)?;
    let training = match root.get("training") {
        None | Some(Value::Null) => None,
        Some(Value::Array(list)) => Some(list),
        Some(_) => {
            faults.add("has a 'training' that is no list; list {\"image\": ..., \"label\": ...}");
            None
        }
    };
    if let Some(map) = root.get("dataset").and_then(Value::as_object) {
        if training.is_some() {
            faults.remark(
                Topic::Layout,
                "has the list 'training' and the object 'dataset'; 'dataset' counts, so remove 'training'",
            );
        }
        return Ok(map.iter().filter_map(|(name, e)| entry_case(dir, name, e, faults)).collect());
    }
    let v2 = root.contains_key("channel_names") || root.contains_key("file_ending");
    match training {
        None => Ok(folders.cases(ending.as_deref(), channels, faults)),
        Some(list) if v2 && folders.has_channel_files() => {
            let cases = folders.cases(ending.as_deref(), channels, faults);
            superseded(list, &cases, faults);
            Ok(cases)
        }
        Some(list) => {
            folders.have(ending.as_deref(), faults);
            Ok(listed_cases(dir, list, channels, &folders, faults))
        }
    }
}

/// Tells what a list `training` has that the folders have not, and the other way round.
fn superseded(list: &[Value], cases: &[Case], faults: &mut Faults) {
    let label = |entry: &Value| Some(case_name(Path::new(entry.get("label")?.as_str()?)));
    let listed: BTreeSet<String> = list.iter().filter_map(label).collect();
    let there: BTreeSet<String> = cases.iter().map(|case| case.name.clone()).collect();
    let part = |what: &str, names: Vec<&String>| match names.len() {
        0 => String::new(),
        n => format!(", {n} {what}: {}", named(&names)),
    };
    let absent = part("listed but not there", listed.difference(&there).collect());
    let extra = part("there but not listed", there.difference(&listed).collect());
    let topic = if absent.is_empty() && extra.is_empty() { Topic::Layout } else { Topic::Json };
    faults.remark(topic, format!(
        "lists {} in 'training', but in nnU-Net v2's layout the folders decide: {} of labelsTr {} taken{absent}{extra}; remove 'training'",
        counted(list.len(), "case"),
        counted(cases.len(), "case"),
        if cases.len() == 1 { "is" } else { "are" },
    ));
}

/// "1 case", "2 cases".
fn counted(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

/// A path of dataset.json inside `dir`, unless it leads out of it. Backslashes separate folders where
/// no file has that very name; absolute paths are taken where they lie inside. Links in the folder
/// are followed wherever they point: whoever made them meant it, and large data sets are often linked.
fn inside(dir: &Path, text: &str, faults: &mut Faults) -> Option<PathBuf> {
    let mut text = text.to_owned();
    if text.contains('\\') && !dir.join(&text).exists() {
        text = text.replace('\\', "/");
    }
    let drive = {
        let bytes = text.as_bytes();
        bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && bytes[2] == b'/'
    };
    let plain = |path: &Path| {
        path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
    };
    let path = dir.join(&text);
    let below = || {
        let home = dir.canonicalize().ok()?;
        let is_home = |folder: &&Path| folder.canonicalize().is_ok_and(|f| f == home);
        let folder = path.ancestors().skip(1).find(is_home)?;
        path.strip_prefix(folder).ok().filter(|rest| plain(rest)).map(Path::to_owned)
    };
    let rest = match plain(Path::new(&text)) {
        _ if drive && cfg!(not(windows)) => None,
        true => Some(PathBuf::from(&text)),
        false => below(),
    };
    if let Some(rest) = rest {
        let normal = rest.components().filter(|c| matches!(c, Component::Normal(_)));
        return Some(dir.join(normal.collect::<PathBuf>()));
    }
    let mut last: Vec<&str> = text.rsplit('/').take(2).collect();
    last.reverse();
    let near = last.join("/");
    let advice = match dir.join(&near).is_file() {
        true => format!("write './{near}'"),
        false => "use paths below it".to_owned(),
    };
    faults.add(format!("names '{text}', which leaves the folder; {advice}"));
    None
}

/// A case of the object `dataset`: `{"images": [...], "label": "..."}`.
fn entry_case(dir: &Path, name: &str, entry: &Value, faults: &mut Faults) -> Option<Case> {
    let images = entry.get("images").and_then(Value::as_array);
    let images: Option<Vec<&str>> = images.map(|l| l.iter().filter_map(Value::as_str).collect());
    let label = entry.get("label").and_then(Value::as_str);
    let (Some(images), Some(label)) = (images, label) else {
        faults.add(format!("has no 'images' and 'label' for the case '{name}'; correct it"));
        return None;
    };
    let images: Option<Vec<PathBuf>> = images.iter().map(|p| inside(dir, p, faults)).collect();
    let label = inside(dir, label, faults)?;
    Some(Case { name: name.to_string(), images: images?, label: Some(label) })
}

/// Cases by the list `training`.
fn listed_cases(
    dir: &Path,
    list: &[Value],
    channels: usize,
    folders: &Folders,
    faults: &mut Faults,
) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut others = BTreeSet::new();
    for (i, entry) in list.iter().enumerate() {
        let text = |key| entry.get(key).and_then(Value::as_str);
        let (Some(image), Some(label)) = (text("image"), text("label")) else {
            faults
                .add(format!("has no 'image' and 'label' in entry {i} of 'training'; correct it"));
            continue;
        };
        let keys = entry.as_object().into_iter().flat_map(Map::keys);
        others.extend(keys.filter(|key| !["image", "label"].contains(&key.as_str())).cloned());
        if let (Some(image), Some(label)) = (inside(dir, image, faults), inside(dir, label, faults))
            && !is_hidden(&image)
        {
            let label = folders.on_disk(label);
            let images = resolve(folders.on_disk(image), channels, folders);
            cases.push(Case { name: case_name(&label), images, label: Some(label) });
        }
    }
    if !others.is_empty() {
        let others: Vec<String> = others.into_iter().map(|key| format!("'{key}'")).collect();
        faults.remark(Topic::UnknownKey, format!(
            "has in 'training' beside 'image' and 'label' what is not read: {}; folds stand in splits_final.json",
            others.join(", ")
        ));
    }
    cases
}

/// The image files of an entry: as listed (the Decathlon), else one per channel (nnU-Net v1), also
/// where the first of them is listed.
fn resolve(image: PathBuf, channels: usize, folders: &Folders) -> Vec<PathBuf> {
    let name = file_name(&image);
    let (stem, ending) = split_ending(&name);
    let files = |case: &str| -> Vec<PathBuf> {
        let file = |c| folders.on_disk(image.with_file_name(channel_file(case, c, ending)));
        (0..channels).map(file).collect()
    };
    if !image.exists() {
        let files = files(stem);
        return if files.iter().any(|f| f.exists()) { files } else { vec![image] };
    }
    match channel_of(stem) {
        Some((case, 0)) if channels > 1 && holds(&image) == Some(1) => {
            let files = files(case);
            if files.iter().all(|f| f.exists()) { files } else { vec![image] }
        }
        _ => vec![image],
    }
}

/// Number of channels of a file, if it can be read.
fn holds(path: &Path) -> Option<usize> {
    read_header(path).ok().map(|header| header.channels)
}

/// What lies in imagesTr and labelsTr.
struct Folders {
    dir: PathBuf,
    images: Listing,
    labels: Listing,
    /// All volumes by their path with the ending in small letters.
    spelt: BTreeMap<PathBuf, PathBuf>,
}

/// The volumes by their stem.
type ByStem<'a> = BTreeMap<String, Vec<&'a PathBuf>>;

/// A path with its NIfTI ending in small letters.
fn small_ending(path: &Path) -> PathBuf {
    let name = file_name(path);
    let (stem, ending) = split_ending(&name);
    path.with_file_name(format!("{stem}{}", ending.to_ascii_lowercase()))
}

impl Folders {
    fn read(dir: &Path) -> Result<Self> {
        let list = |name: &str| {
            let folder = dir.join(name);
            match Listing::of(&folder) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Listing::default()),
                listing => listing.map_err(|e| Error::io("list", &folder, e)),
            }
        };
        let (images, labels) = (list(IMAGES)?, list(LABELS)?);
        let volumes = images.volumes.iter().chain(&labels.volumes);
        let spelt = volumes.map(|path| (small_ending(path), path.clone())).collect();
        Ok(Folders { dir: dir.to_owned(), images, labels, spelt })
    }

    /// A path as it is spelt on the disk, where its ending is in other letters there.
    fn on_disk(&self, path: PathBuf) -> PathBuf {
        match path.exists() {
            true => path,
            false => self.spelt.get(&small_ending(&path)).cloned().unwrap_or(path),
        }
    }

    /// Whether some label map has an image with a channel number.
    fn has_channel_files(&self) -> bool {
        let images: Vec<String> = self.images.volumes.iter().map(|p| case_name(p)).collect();
        let cases = images.iter().filter_map(|stem| channel_of(stem));
        let cases: BTreeSet<&str> = cases.map(|(case, _)| case).collect();
        self.labels.volumes.iter().any(|label| cases.contains(case_name(label).as_str()))
    }

    /// The volumes of a folder by stem, of this ending where one is demanded.
    fn by_stem<'a>(volumes: &'a [PathBuf], ending: Option<&str>) -> ByStem<'a> {
        let mut by_stem = ByStem::new();
        for path in volumes {
            if ending.is_none_or(|e| ending_of(&file_name(path)) == e) {
                by_stem.entry(case_name(path)).or_default().push(path);
            }
        }
        by_stem
    }

    /// The cases of nnU-Net v2: a label map `CASE` and images `CASE_0000`...
    fn cases(&self, ending: Option<&str>, channels: usize, faults: &mut Faults) -> Vec<Case> {
        if !self.have(ending, faults) {
            return Vec::new();
        }
        let images = Self::by_stem(&self.images.volumes, ending);
        let labels = Self::by_stem(&self.labels.volumes, ending);
        let image = |stem: &str| images.get(stem).and_then(|all| all.first()).copied();
        let mut wrong = Misnamed::default();
        let mut cases = Vec::new();
        let labels = labels.iter().flat_map(|(case, all)| all.iter().map(move |l| (case, *l)));
        for (case, label) in labels {
            let name = file_name(label);
            let file = |channel| match image(&channel_file(case, channel, "")) {
                Some(path) => path.clone(),
                None => {
                    self.dir.join(IMAGES).join(channel_file(case, channel, split_ending(&name).1))
                }
            };
            let parts: Vec<PathBuf> = (0..channels).map(file).collect();
            let whole = image(case).filter(|_| parts.iter().all(|part| !part.exists()));
            let images = match whole {
                None => parts,
                Some(whole) if channels > 1 && holds(whole).is_some_and(|n| n > 1) => {
                    vec![whole.clone()]
                }
                Some(whole) => {
                    wrong.files.push((whole.clone(), label.clone()));
                    continue;
                }
            };
            cases.push(Case { name: case.clone(), images, label: Some(label.clone()) });
        }
        wrong.tell(self, faults);
        cases
    }

    /// Whether both folders have files of the ending that is demanded; a fault where they have others
    /// alone.
    fn have(&self, ending: Option<&str>, faults: &mut Faults) -> bool {
        let Some(ending) = ending else { return true };
        let endings = |listing: &Listing| -> BTreeSet<String> {
            listing.volumes.iter().map(|p| ending_of(&file_name(p))).collect()
        };
        let found = [endings(&self.images), endings(&self.labels)];
        let lacking = (0..2).find(|&i| !found[i].is_empty() && !found[i].contains(ending));
        if let Some(i) = lacking {
            let others: Vec<&str> = found[i].iter().map(String::as_str).collect();
            let advice = match (&others[..], found.iter().all(|f| f.len() < 2)) {
                ([one], true) if found[0] == found[1] => {
                    format!("write \"file_ending\": \"{one}\"")
                }
                _ => "save all images and label maps with one ending and name it there".to_owned(),
            };
            faults.add(format!(
                "has the 'file_ending' '{ending}', but the files of {} end in {}; {advice}",
                [IMAGES, LABELS][i],
                others.join(" and ")
            ));
        }
        lacking.is_none()
    }
}

/// Cases whose image has the label map's name instead of a channel number more: image and label map
/// of each.
#[derive(Default)]
struct Misnamed {
    files: Vec<(PathBuf, PathBuf)>,
}

impl Misnamed {
    /// A fault with the command that renames the files. Where all names end in `_0000`, the label
    /// maps are wrong, else the images.
    fn tell(&self, folders: &Folders, faults: &mut Faults) {
        let Some((image, label)) = self.files.first() else { return };
        let first_channel =
            |label: &Path| channel_of(&case_name(label)).is_some_and(|(_, number)| number == 0);
        let labels = self.files.iter().all(|(_, label)| first_channel(label));
        let (folder, listing, example) = match labels {
            true => (LABELS, &folders.labels, file_name(label)),
            false => (IMAGES, &folders.images, file_name(image)),
        };
        let (stem, ending) = split_ending(&example);
        let count = self.files.len();
        let what = match (labels, count) {
            (true, 1) => format!("the label map '{example}' has a channel number"),
            (true, _) => format!("{count} label maps have a channel number, as '{example}'"),
            (false, 1) => format!("the image '{example}' has no channel number"),
            (false, _) => format!("{count} images have no channel number, as '{example}'"),
        };
        let rule = match labels {
            true => "label maps are named without the _0000 of their image",
            false => "names of images end in _0000, _0001... for the channel",
        };
        let one = match labels {
            true => stem.strip_suffix("_0000").unwrap_or(stem).to_owned() + ending,
            false => channel_file(stem, 0, ending),
        };
        // Only where it renames no other file.
        let alike = |path: &&PathBuf| file_name(path).ends_with(ending);
        let all = match (labels, listing.volumes.iter().filter(alike).count() == count && count > 1)
        {
            (_, false) => String::new(),
            (true, true) => format!(
                ", or all of them with `for f in {folder}/*_0000{ending};do mv \"$f\" \"${{f%_0000{ending}}}{ending}\";done`"
            ),
            (false, true) => format!(
                ", or all of them with `for f in {folder}/*{ending};do mv \"$f\" \"${{f%{ending}}}_0000{ending}\";done`"
            ),
        };
        faults.add(format!(
            "goes by nnU-Net's names, but {what}; {rule}, so rename it by `mv \"{folder}/{example}\" \"{folder}/{one}\"`{all}"
        ));
    }
}

/// Files of imagesTr and labelsTr that no case uses.
pub(super) fn unused(dir: &Path, cases: &[Case], faults: &mut Faults) {
    let used: BTreeSet<&PathBuf> =
        cases.iter().flat_map(|case| case.images.iter().chain(&case.label)).collect();
    // A pair may be listed by its .img.
    let pair = |path: &&&PathBuf| ending_of(&file_name(path)).starts_with(".hdr");
    let pairs: BTreeSet<(Option<&Path>, String)> =
        used.iter().filter(pair).map(|p| (p.parent(), case_name(p))).collect();
    let mut remark = |topic, sentence| faults.remarks.push(Remark { topic, sentence });
    for folder in [IMAGES, LABELS] {
        let Ok(found) = Listing::of(&dir.join(folder)) else { continue };
        let free = |path: &&PathBuf| {
            let of_pair = pair(&path) && pairs.contains(&(path.parent(), case_name(path)));
            !used.contains(*path) && !of_pair
        };
        let (volumes, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
            found.volumes.iter().chain(&found.others).filter(free).partition(|p| is_volume(p));
        let verb = |files: &[&PathBuf]| if files.len() == 1 { "is" } else { "are" };
        if !volumes.is_empty() {
            remark(
                Topic::UnusedVolume,
                format!(
                    "{} in {folder} {} part of no case: {}; add the missing image or label map, list it in dataset.json if that lists the cases, or remove it",
                    counted(volumes.len(), "file"),
                    verb(&volumes),
                    named(&volumes)
                ),
            );
        }
        if !others.is_empty() {
            remark(
                Topic::OtherFile,
                format!(
                    "{} in {folder} {} skipped, because NIfTI files have other names: {}; remove what is not needed",
                    counted(others.len(), "file"),
                    verb(&others),
                    named(&others)
                ),
            );
        }
    }
}
