//! Damages bytes and texts as disks, transfers and hurried editors do.

use asng_wgpu::data::rng::{Purpose, below, stream};
use rand_chacha::ChaCha8Rng;

/// A source of damage; the same for the same numbers.
pub struct Mutator(ChaCha8Rng);

const BYTES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'\n'];
const VALUES: [&str; 26] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999999",
    "1e308",
    "-1e308",
    "1e-320",
    "1e999",
    "NaN",
    "nan",
    "inf",
    "null",
    "true",
    "\"\"",
    "\"../../x\"",
    "\"a\\u0000b\"",
    "[]",
    "{}",
    "[1,2,3]",
];

impl Mutator {
    pub fn new(seed: u64, number: u64) -> Self {
        Mutator(stream(seed, Purpose::Test, &[number]))
    }

    pub fn below(&mut self, n: usize) -> usize {
        below(&mut self.0, n as u64) as usize
    }

    pub fn one_of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }

    /// Damages bytes in one to four places.
    pub fn bytes(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(4) {
            let len = bytes.len();
            let at = self.below(len + 1);
            match self.below(7) {
                0 if at < len => bytes[at] ^= 1 << self.below(8),
                1 if at < len => bytes[at] = BYTES[self.below(BYTES.len())],
                2 => bytes.truncate(at),
                3 => {
                    let more = vec![BYTES[self.below(BYTES.len())]; 1 + self.below(64)];
                    bytes.splice(at..at, more);
                }
                4 => {
                    let end = (at + 1 + self.below(32)).min(len);
                    bytes.drain(at.min(end)..end);
                }
                5 => {
                    let end = (at + 1 + self.below(64)).min(len);
                    let part = bytes[at.min(end)..end].to_vec();
                    let to = self.below(len + 1);
                    bytes.splice(to..to, part);
                }
                _ if at + 8 <= len => {
                    let word = [0u64, 1, u64::MAX, 1 << 63, 1 << 31, f64::NAN.to_bits()];
                    let word = word[self.below(word.len())].to_le_bytes();
                    let size = [2, 4, 8][self.below(3)];
                    bytes[at..at + size].copy_from_slice(&word[..size]);
                }
                _ => {}
            }
        }
        bytes
    }

    /// Damages a text: its bytes, or its values.
    pub fn text(&mut self, text: &str) -> Vec<u8> {
        match self.below(4) {
            0 => self.bytes(text.as_bytes().to_vec()),
            _ => {
                let mut text = text.to_owned();
                for _ in 0..=self.below(2) {
                    text = self.value(&text);
                }
                text.into_bytes()
            }
        }
    }

    /// Puts something else in the place of one number or quoted word.
    fn value(&mut self, text: &str) -> String {
        let spans = tokens(text);
        if spans.is_empty() {
            return text.to_owned();
        }
        let (start, end) = spans[self.below(spans.len())];
        let new = match self.below(8) {
            0 => "[".repeat(1 + self.below(20_000)),
            1 => format!("\"{}\"", "x".repeat(self.below(20_000))),
            2 => {
                let (from, to) = spans[self.below(spans.len())];
                text[from..to].to_owned()
            }
            3 => format!("{0}{1}{0}", "[".repeat(100), "]".repeat(100)),
            _ => VALUES[self.below(VALUES.len())].to_owned(),
        };
        format!("{}{new}{}", &text[..start], &text[end..])
    }
}

/// Where numbers and quoted words lie.
fn tokens(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut spans = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let number = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
        if bytes[at] == b'"' || bytes[at] == b'\'' {
            let quote = bytes[at];
            at += 1;
            while at < bytes.len() && bytes[at] != quote {
                at += 1;
            }
            at = (at + 1).min(bytes.len());
            spans.push((start, at));
        } else if bytes[at].is_ascii_digit() || bytes[at] == b'-' {
            while at < bytes.len() && number(bytes[at]) {
                at += 1;
            }
            spans.push((start, at));
        } else {
            at += 1;
        }
    }
    spans.retain(|&(a, b)| text.is_char_boundary(a) && text.is_char_boundary(b));
    spans
}
