//! From files to prepared images and cases.

use super::cache::{self, Content, Stored};
use super::fingerprint::{check_prepared_size, foreground_values, intensities, prepared_shape};
use super::hold::{Held, Pool, Voxels};
use super::load::{LoadedImage, bad, load_image};
use super::normalise::{check_colours, nonzero_mask, normalise_within};
use super::workers::{Progress, Workers};
use super::{CaseFacts, Fingerprint, Origin, Places, Prepared, PreparedCase};
use super::{PreparedImage, Preprocessing, crop};
use crate::data::channels::Normalisation;
use crate::data::dataset::{Case, Dataset};
use crate::data::labels::{Labels, MOST_LABELS, is_foreground};
use crate::data::names::case_name;
use crate::data::nifti::{self, LabelVolume, voxel_name};
use crate::data::orientation::Turn;
use crate::data::resample::{Interpolation, resample_image, resample_labels, separate_axis};
use crate::{Error, Result, files, host};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a data set is prepared.
#[derive(Clone, Debug, Default)]
pub struct PrepareOptions {
    /// Host threads; 0: as many as cores.
    pub threads: usize,
    /// Target voxel size (D, H, W of the files, mm) instead of nnU-Net's rule.
    pub spacing_mm: Option<[f64; 3]>,
    /// Turn all volumes to RAS first.
    pub reorient: bool,
    /// Folder for prepared cases; without, all of them stay in memory.
    pub cache: Option<PathBuf>,
    /// Bytes of prepared cases in memory at a time, where there is a cache; without, half of
    /// what the system has free.
    pub memory_bytes: Option<u64>,
    /// [`contents`] of the cases, where they are known already.
    pub contents: Option<Vec<Content>>,
}

/// Loads one image and prepares it by a run's parameters, for prediction.
///
/// # Errors
/// As [`load_image`]; besides an image that would have too many voxels.
pub fn prepare_image(
    images: &[PathBuf],
    channels: usize,
    by: &Preprocessing,
) -> Result<PreparedImage> {
    let loaded = load_image(images, channels, by.reorient)?;
    let voxels = loaded.shape.iter().product();
    check_colours(&loaded.image, voxels, |c| by.normalisation(c), images)?;
    check_size(&loaded, by, images.first())?;
    Ok(to_grid(loaded, by))
}

/// Refuses images that a wrong spacing would blow up.
fn check_size(loaded: &LoadedImage, by: &Preprocessing, file: Option<&PathBuf>) -> Result<()> {
    let name = || file.cloned().unwrap_or_default().display().to_string();
    check_prepared_size(name, loaded.channels, loaded.shape, loaded.spacing_mm, by)
}

/// Turns, resamples and normalises an image.
fn to_grid(loaded: LoadedImage, by: &Preprocessing) -> PreparedImage {
    let channels = loaded.channels;
    let from = by.permuted(loaded.shape);
    let to = prepared_shape(loaded.shape, loaded.spacing_mm, by);
    let mut image = permute(loaded.image, loaded.shape, by.axes);
    let mut mask = by.nonzero_mask.then(|| nonzero_mask(&image, from.iter().product()));
    if from != to {
        let separate = separate_axis(by.permuted(loaded.spacing_mm), by.spacing_mm);
        image = resample_image(&image, from, to, Interpolation::Cubic, separate);
        mask = mask.map(|mask| {
            let mask = resample_labels(bytemuck::cast_slice(&mask), from, to, separate);
            mask.into_iter().map(|inside| inside == 1).collect()
        });
    }
    normalise_within(&mut image, to.iter().product(), by, mask.as_deref());
    let origin = Origin {
        header: loaded.header,
        turn: loaded.turn,
        shape: loaded.original_shape,
        crop_start: loaded.crop_start,
        crop_shape: loaded.shape,
        spacing_mm: loaded.spacing_mm,
    };
    let (constant, grids) = (loaded.constant, loaded.grids);
    PreparedImage { channels, shape: to, image, origin, constant, grids }
}

/// Label indices (D, H, W of the crop) on the grid of the prepared image.
fn labels_to_grid(labels: Vec<u8>, origin: &Origin, to: [usize; 3], by: &Preprocessing) -> Vec<u8> {
    let from = by.permuted(origin.crop_shape);
    let separate = separate_axis(by.permuted(origin.spacing_mm), by.spacing_mm);
    resample_labels(&permute(labels, origin.crop_shape, by.axes), from, to, separate)
}

/// Puts the axes of volumes (any number behind one another, D, H, W `shape`) in another order.
fn permute<T: Copy>(data: Vec<T>, shape: [usize; 3], axes: [usize; 3]) -> Vec<T> {
    turned(&Turn::permutation(shape, axes), data)
}

/// Turns volumes, without a copy where nothing moves.
fn turned<T: Copy>(turn: &Turn, data: Vec<T>) -> Vec<T> {
    if turn.is_identity() { data } else { turn.apply(&data) }
}

/// A case as it lies in its files, cropped.
struct LoadedCase {
    image: LoadedImage,
    labels: Vec<u8>,
}

impl LoadedCase {
    fn bytes(&self) -> u64 {
        (self.image.image.len() * 4 + self.labels.len()) as u64
    }
}

fn load_case(dataset: &Dataset, case: &Case, reorient: bool) -> Result<LoadedCase> {
    let Some(path) = &case.label else {
        return Err(Error::Input(format!(
            "the case '{}' has no label map; add one to labelsTr",
            case.name
        )));
    };
    let image =
        load_image(&case.images, dataset.modalities.len(), reorient).map_err(|e| match e {
            Error::Input(why) => {
                Error::Input(format!("the case '{}' cannot be used: {why}", case.name))
            }
            other => other,
        })?;
    let by = dataset.normalisation();
    let of = |c: usize| by.get(c).copied().unwrap_or_default();
    check_colours(&image.image, image.shape.iter().product(), of, &case.images)?;
    let map = read_label_map(path, &image, &case.name)?;
    let labels = label_indices(path, &image, map, &dataset.labels)?;
    Ok(LoadedCase { image, labels })
}

/// Reads the label map of a loaded image.
fn read_label_map(path: &Path, image: &LoadedImage, name: &str) -> Result<LabelVolume> {
    let l = nifti::read_labels(path)?;
    if let Some(difference) = image.header.error_of_grid(&l.header) {
        let what = format!("does not lie on the grid of the image of '{name}': {difference}");
        return Err(bad(path, format!("{what}; bring both to one grid")));
    }
    Ok(l)
}

/// The label indices of a label map: turned and cropped as the image is.
fn label_indices(
    path: &Path,
    image: &LoadedImage,
    map: LabelVolume,
    labels: &Labels,
) -> Result<Vec<u8>> {
    let table = labels.index_of_value();
    let index = |&value: &u16| table[usize::from(value)];
    let indices: Option<Vec<u8>> = map.labels.iter().map(index).collect();
    let Some(indices) = indices else {
        let unknown = map.labels.iter().position(|v| index(v).is_none()).unwrap_or(0);
        return Err(bad(
            path,
            format!(
                "has the label {} at voxel {}, but dataset.json lists only {}; correct one of them",
                map.labels[unknown],
                voxel_name(unknown, map.shape),
                labels.values_text()
            ),
        ));
    };
    // Voxel by voxel as the image, whatever the label map's own header says of directions.
    let indices = turned(&image.turn, indices);
    Ok(crop(&indices, 1, image.original_shape, image.crop_start, image.shape))
}

/// Prepares an image and its label map (background everywhere, if there is none) by given
/// parameters, or by those that a data set of this case alone would have, at its own spacing, with
/// this normalisation of each channel; `ignore`: the value of voxels whose label is unknown. Gives
/// label values.
///
/// # Errors
/// As [`load_image`]; a label map on another grid, or with more than 255 labels.
pub fn prepare_labelled(
    images: &[PathBuf],
    label: Option<&Path>,
    normalisation: &[Normalisation],
    reorient: bool,
    ignore: Option<u16>,
    by: Option<&Preprocessing>,
) -> Result<(PreparedImage, Vec<u16>, Preprocessing)> {
    let reorient = by.map_or(reorient, |by| by.reorient);
    let image = load_image(images, normalisation.len(), reorient)?;
    let mut known = Labels::numbered(1);
    let indices = match label {
        Some(path) => {
            let name = images.first().map(|p| case_name(p)).unwrap_or_default();
            let map = read_label_map(path, &image, &name)?;
            let mut values = map.labels.clone();
            values.sort_unstable();
            values.dedup();
            // The background is a label even where it does not occur.
            let count = values.iter().filter(|v| **v > 0).count() + 1;
            if count > MOST_LABELS {
                let what = format!(
                    "has {count} different labels, but at most {MOST_LABELS} are supported; look \
                     whether it is an image"
                );
                return Err(bad(path, what));
            }
            known = Labels::of_values(values, ignore);
            label_indices(path, &image, map, &known)?
        }
        None => vec![0; image.shape.iter().product()],
    };
    let by = match by {
        Some(by) => by.clone(),
        None => Fingerprint::of_image(&image, |i| is_foreground(indices[i]), normalisation)
            .preprocessing(Some(image.spacing_mm)),
    };
    let voxels = image.shape.iter().product();
    check_colours(&image.image, voxels, |c| by.normalisation(c), images)?;
    check_size(&image, &by, images.first())?;
    let image = to_grid(image, &by);
    let indices = labels_to_grid(indices, &image.origin, image.shape, &by);
    Ok((image, indices.into_iter().map(|i| known.value_of(i)).collect(), by))
}

/// What one case adds to the fingerprint.
struct Facts {
    case: CaseFacts,
    /// Every tenth foreground voxel of each CT channel.
    ct: Vec<Vec<f32>>,
    /// The case itself, while there is room.
    kept: Option<LoadedCase>,
}

fn facts(
    case: &Case,
    loaded: LoadedCase,
    normalisation: &[Normalisation],
    room: &AtomicU64,
) -> Facts {
    let image = &loaded.image;
    let ct = foreground_values(image, |i| is_foreground(loaded.labels[i]), normalisation);
    let case = CaseFacts {
        name: case.name.clone(),
        shape: image.original_shape,
        crop_shape: image.shape,
        spacing_mm: image.spacing_mm,
    };
    let bytes = loaded.bytes();
    let take = |left: u64| left.checked_sub(bytes);
    let fits = room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
    Facts { case, ct, kept: fits.then_some(loaded) }
}

/// Threads for the cases of a data set.
fn workers<'a>(
    dataset: &Dataset,
    cases: &[Case],
    threads: usize,
    progress: &'a mut dyn FnMut(Progress),
) -> Result<Workers<'a>> {
    if cases.is_empty() {
        return Err(Error::Input(format!(
            "'{}' has no cases to prepare; add some",
            dataset.dir.display()
        )));
    }
    Workers::start(threads, progress)
}

/// Reads all cases and says what the data set is like; without a cache.
///
/// # Errors
/// The first case in order that cannot be read or is inconsistent.
pub fn survey(
    dataset: &Dataset,
    cases: &[Case],
    options: &PrepareOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fingerprint> {
    let mut workers = workers(dataset, cases, options.threads, progress)?;
    let options = PrepareOptions { cache: None, ..options.clone() };
    fingerprint(dataset, cases, &[], &options, 0, &mut workers).map(|found| found.fingerprint)
}

/// Hashes the files of cases; in their order.
///
/// # Errors
/// [`Error::Input`] without cases; the first case in order with a file that cannot be read.
pub fn contents(
    dataset: &Dataset,
    cases: &[Case],
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Content>> {
    let mut workers = workers(dataset, cases, threads, progress)?;
    workers.each("hashing", cases.len(), |i| Content::of(&cases[i]))
}

/// Prepares cases by parameters that are decided over all of them, all in memory.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_all(dataset: &Dataset, cases: &[Case], threads: usize) -> Result<Prepared> {
    prepare(dataset, cases, &PrepareOptions { threads, ..Default::default() }, &mut |_| ())
}

/// Prepares cases by parameters that are decided over all of them.
///
/// # Errors
/// The first case in order that cannot be read or is inconsistent; a cache that cannot be
/// written.
pub fn prepare(
    dataset: &Dataset,
    cases: &[Case],
    options: &PrepareOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Prepared> {
    let mut workers = workers(dataset, cases, options.threads, progress)?;
    if let Some(dir) = &options.cache {
        files::create_folder(dir)?;
    }
    let room = options.memory_bytes.unwrap_or_else(half_of_free_memory);
    let contents = match (&options.cache, &options.contents) {
        (Some(_), Some(known)) => known.clone(),
        (Some(_), None) => workers.each("hashing", cases.len(), |i| Content::of(&cases[i]))?,
        (None, _) => Vec::new(),
    };
    let surveyed = fingerprint(dataset, cases, &contents, options, room, &mut workers)?;
    let Surveyed { fingerprint, loaded, remade } = surveyed;
    let by = fingerprint.preprocessing(options.spacing_mm);
    let labels = &dataset.labels;
    let pool = Arc::new(Pool::new(room));
    let loaded: Vec<Mutex<Option<LoadedCase>>> = loaded.into_iter().map(Mutex::new).collect();
    let remade = Mutex::new(if remade { vec!["the data set's facts".to_owned()] } else { vec![] });
    let one = |i: usize| -> Result<PreparedCase> {
        let case = &cases[i];
        let kept = loaded
            .get(i)
            .and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        let make = || {
            let loaded = kept.map_or_else(|| load_case(dataset, case, options.reorient), Ok)?;
            check_size(&loaded.image, &by, case.images.first())?;
            let image = to_grid(loaded.image, &by);
            let labels = labels_to_grid(loaded.labels, &image.origin, image.shape, &by);
            Ok((image, labels))
        };
        match (&options.cache, contents.get(i)) {
            (Some(dir), Some(content)) => {
                let file = cache::case_file(dir, &case.name, content, &by, labels);
                let there = file.exists();
                let (case, made) = cached(case, file, &by, labels, &pool, make)?;
                if there && made {
                    let mut all = remade.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(format!("the case '{}'", case.name));
                }
                Ok(case)
            }
            _ => {
                let (image, indices) = make()?;
                let name = case.name.clone();
                Ok(PreparedCase::in_memory(name, image, indices, labels, by.spacing_mm))
            }
        }
    };
    let cases = workers.each("preparing", cases.len(), one)?;
    let mut remade: Vec<String> = remade.into_inner().unwrap_or_else(PoisonError::into_inner);
    remade.sort();
    Ok(Prepared { cases, preprocessing: by, fingerprint, remade })
}

/// A case from its file in the cache, and whether that had to be made.
fn cached(
    case: &Case,
    file: PathBuf,
    by: &Preprocessing,
    labels: &Labels,
    pool: &Arc<Pool>,
    make: impl FnOnce() -> Result<(PreparedImage, Vec<u8>)>,
) -> Result<(PreparedCase, bool)> {
    let mut made = false;
    let (stored, voxels, header) = match (cache::read_case(&file), case.images.first()) {
        (Ok((stored, voxels)), Some(image)) => (stored, voxels, nifti::read_header(image)?),
        _ => {
            made = true;
            let (image, labels) = make()?;
            let stored = Stored {
                channels: image.channels,
                shape: image.shape,
                original_shape: image.origin.shape,
                crop_start: image.origin.crop_start,
                crop_shape: image.origin.crop_shape,
                constant: image.constant,
            };
            let voxels = Voxels { image: image.image, labels };
            cache::write_case(&file, &stored, &voxels)?;
            (stored, voxels, image.origin.header)
        }
    };
    let turn = match by.reorient {
        true => Turn::to_ras(&header),
        false => Turn::permutation(header.shape(), [0, 1, 2]),
    };
    let places = Places::of(&voxels.labels, labels);
    pool.add(file.clone(), Arc::new(voxels));
    let prepared = PreparedCase {
        name: case.name.clone(),
        channels: stored.channels,
        shape: stored.shape,
        spacing_mm: by.spacing_mm,
        places,
        origin: Origin {
            spacing_mm: turn.permuted(header.spacing_mm()),
            header,
            turn,
            shape: stored.original_shape,
            crop_start: stored.crop_start,
            crop_shape: stored.crop_shape,
        },
        constant: stored.constant,
        held: Held::Cached { file, pool: pool.clone() },
    };
    Ok((prepared, made))
}

/// What a survey came to.
struct Surveyed {
    fingerprint: Fingerprint,
    /// The cases that were read for it, while there was room.
    loaded: Vec<Option<LoadedCase>>,
    /// Whether the file in the cache was damaged.
    remade: bool,
}

/// The fingerprint of the cases.
fn fingerprint(
    dataset: &Dataset,
    cases: &[Case],
    contents: &[Content],
    options: &PrepareOptions,
    room: u64,
    workers: &mut Workers,
) -> Result<Surveyed> {
    let normalisation = dataset.normalisation();
    let labels = &dataset.labels;
    let file = options.cache.as_ref().map(|dir| {
        cache::fingerprint_file(dir, cases, contents, &normalisation, labels, options.reorient)
    });
    let known = file.as_deref().and_then(cache::read_fingerprint);
    if let Some(known) = known {
        let known = Fingerprint { normalisation, ..known };
        return Ok(Surveyed { fingerprint: known, loaded: Vec::new(), remade: false });
    }
    // The prepared cases will want room while these are still there.
    let room = AtomicU64::new(room / 2);
    let found = workers.each("reading", cases.len(), |i| {
        Ok(facts(
            &cases[i],
            load_case(dataset, &cases[i], options.reorient)?,
            &normalisation,
            &room,
        ))
    })?;
    let reorient = options.reorient;
    let mut facts_of = Vec::new();
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); normalisation.len()];
    let mut loaded = Vec::new();
    for facts in found {
        facts_of.push(facts.case);
        values.iter_mut().zip(facts.ct).for_each(|(all, one)| all.extend(one));
        loaded.push(facts.kept);
    }
    let ct = intensities(values, &normalisation);
    let fingerprint = Fingerprint { reorient, cases: facts_of, ct, normalisation };
    let remade = file.as_ref().is_some_and(|file| file.exists());
    if let Some(file) = &file {
        cache::write_fingerprint(file, &fingerprint)?;
    }
    Ok(Surveyed { fingerprint, loaded, remade })
}

/// Half of the memory that the system has to give, in bytes.
fn half_of_free_memory() -> u64 {
    /// Where the system does not tell.
    const UNKNOWN: u64 = 2 << 30;
    host::free_bytes().map_or(UNKNOWN, |free| free / 2)
}
