//! Event files that TensorBoard reads: scalars of a training.
//!
//! A file is a row of records (TFRecord: length, its CRC, content, its CRC, all little-endian) that
//! hold `Event` messages in protobuf's wire format. Sources: tensorflow/core/lib/io/record_writer,
//! tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto.

use crate::{Error, Result, files};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file that grows.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in a folder, which is created. Steps of earlier files from `step` on are void:
    /// they were of a training that was interrupted and now goes on before them.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path.
    pub fn create(folder: &Path, step: u64) -> Result<Self> {
        files::create_folder(folder)?;
        let seconds = wall_time() as u64;
        // The names sort by time and are taken only once.
        for number in 0..10_000 {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.{number:04}"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut events = EventFile { path, file };
                    events.append(&version())?;
                    events.append(&session_start(step))?;
                    return Ok(events);
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("create", &path, e)),
            }
        }
        Err(Error::Input(format!(
            "'{}' holds 10,000 event files of this second; remove some",
            folder.display()
        )))
    }

    /// Appends named numbers of a step; those that are not finite are left out.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path.
    pub fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values.iter().filter(|(_, value)| value.is_finite()) {
            let mut entry = Vec::new();
            bytes_field(&mut entry, 1, tag.as_bytes());
            key(&mut entry, 2, FIXED32);
            entry.extend((*value as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &entry);
        }
        let mut event = head(step);
        bytes_field(&mut event, 5, &summary);
        self.append(&event)
    }

    fn append(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&framed(event)).map_err(|e| Error::io("write", &self.path, e))
    }
}

/// Protobuf's wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Seconds since 1970; 0 where the clock is before.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The fields that every event begins with: `wall_time` and `step`.
fn head(step: u64) -> Vec<u8> {
    let mut event = Vec::new();
    key(&mut event, 1, FIXED64);
    event.extend(wall_time().to_le_bytes());
    key(&mut event, 2, VARINT);
    varint(&mut event, step);
    event
}

/// The event that a file begins with.
fn version() -> Vec<u8> {
    let mut event = head(0);
    bytes_field(&mut event, 3, b"brain.Event:2");
    event
}

/// `session_log { status: START }`, upon which TensorBoard drops steps from this one on.
fn session_start(step: u64) -> Vec<u8> {
    let mut event = head(step);
    bytes_field(&mut event, 7, &[(1 << 3) | VARINT as u8, 1]);
    event
}

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(out, field, BYTES);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// A record with this content.
fn framed(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(content);
    record.extend(masked(crc32c(content)).to_le_bytes());
    record
}

/// A CRC as it is stored, so that the CRC of bytes that hold CRCs stays a good one.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4), bit by bit: a few hundred bytes an epoch.
fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        let step = |crc: u32, _| crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        (0..8).fold(crc ^ u32::from(*byte), step)
    };
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_has_its_known_values() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[255; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
    }

    /// Content of all records, their checksums checked.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let four = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(four(&bytes[8..]), masked(crc32c(&bytes[..8])));
            let content = &bytes[12..12 + length];
            assert_eq!(four(&bytes[12 + length..]), masked(crc32c(content)));
            all.push(content.to_vec());
            bytes = &bytes[16 + length..];
        }
        all
    }

    /// Fields of a message: number, and value as bytes.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn number(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let key = number(&mut bytes);
            let length = match key & 7 {
                VARINT => {
                    all.push((key >> 3, number(&mut bytes).to_le_bytes().to_vec()));
                    continue;
                }
                FIXED64 => 8,
                FIXED32 => 4,
                _ => number(&mut bytes) as usize,
            };
            all.push((key >> 3, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
        all
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(&folder.path().join("a/b"), 7).unwrap();
        let long = "dice/".to_owned() + &"name ".repeat(60);
        let values = [("loss".to_owned(), 0.25), ("nan".to_owned(), f64::NAN), (long, -1.5)];
        events.scalars(300, &values).unwrap();
        let second = EventFile::create(&folder.path().join("a/b"), 7).unwrap();
        assert!(second.path > events.path);
        let records = records(&std::fs::read(&events.path).unwrap());
        assert_eq!(records.len(), 3);
        let field = |record: usize, number: u64| {
            let found = fields(&records[record]).into_iter().find(|(n, _)| *n == number);
            found.expect("the field is there").1
        };
        assert_eq!(field(0, 3), b"brain.Event:2");
        assert_eq!((field(1, 2), field(1, 7)), (7u64.to_le_bytes().to_vec(), vec![8, 1]));
        assert_eq!(field(2, 2), 300u64.to_le_bytes());
        let time = f64::from_le_bytes(field(2, 1).try_into().unwrap());
        assert!((wall_time() - time).abs() < 60.0);
        let values: Vec<(String, f32)> = fields(&field(2, 5))
            .into_iter()
            .map(|(_, entry)| {
                let entry = fields(&entry);
                let value = f32::from_le_bytes(entry[1].1.clone().try_into().unwrap());
                (String::from_utf8(entry[0].1.clone()).unwrap(), value)
            })
            .collect();
        assert_eq!(values.len(), 2);
        assert_eq!((values[0].0.as_str(), values[0].1), ("loss", 0.25));
        assert_eq!((values[1].0.len(), values[1].1), (305, -1.5));
    }
}
