//! A message's tokens: hashes of words and of pairs of neighbours, from subject, sender and text.

use crate::Content;
use crate::content::TextKind;
use std::collections::HashSet;
use std::hash::BuildHasherDefault;

/// Words looked at in one message; a mail says what it is early.
const WORDS_MAX: usize = 1500;
const WORD_BYTES_MIN: usize = 3;
const WORD_BYTES_MAX: usize = 40;

/// Token hashes are spread already.
#[derive(Default)]
struct Identity(u64);

impl std::hash::Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Calls `each` once for every different token. The hash is part of the store's format.
pub fn for_each_token(content: &Content<'_>, mut each: impl FnMut(u64)) {
    let mut seen: HashSet<u64, BuildHasherDefault<Identity>> =
        HashSet::with_capacity_and_hasher(1024, BuildHasherDefault::default());
    let mut words = 0;
    let mut emit = |token: u64| {
        if seen.insert(token) {
            each(token);
        }
    };
    let mut take = |prefix: u64, text: &[u8], html: bool| {
        let mut previous = None;
        for_each_word(text, html, |hash| {
            words += 1;
            let word = mix(prefix, hash);
            emit(word);
            if let Some(previous) = previous {
                emit(mix(previous, word));
            }
            previous = Some(word);
            words < WORDS_MAX
        });
    };
    take(1, content.subject.as_bytes(), false);
    take(2, content.from.as_bytes(), false);
    for part in &content.parts {
        match part.text {
            Some(kind) => take(3, part.bytes, kind == TextKind::Html),
            None => take(4, part.file_name.unwrap_or_default().as_bytes(), false),
        }
    }
}

/// Calls `each` with the hash of every word until it says no. Words are runs of letters, digits, and `'-$!` within, lower-cased.
/// In HTML, tags are skipped but for the addresses they lead to.
fn for_each_word(text: &[u8], html: bool, mut each: impl FnMut(u64) -> bool) {
    let mut hash = 0_u64;
    let mut length = 0_usize;
    let mut in_tag = false;
    let mut in_address = false;
    let mut quote = 0;
    for &byte in text.iter().chain(b" ") {
        if html {
            if in_tag && !in_address {
                match byte {
                    b'>' => in_tag = false,
                    // An attribute's value: only addresses are worth a word.
                    b'"' | b'\'' => {
                        in_address = true;
                        quote = byte;
                    }
                    _ => {}
                }
                continue;
            }
            if in_address && (byte == quote || byte == b'>') {
                in_address = false;
                in_tag = byte != b'>';
            }
            if byte == b'<' {
                in_tag = true;
            }
        }
        if byte.is_ascii_alphanumeric() || byte >= 0x80 || b"'-$!".contains(&byte) {
            hash = (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
            length += 1;
            continue;
        }
        if (WORD_BYTES_MIN..=WORD_BYTES_MAX).contains(&length) && !each(hash) {
            return;
        }
        hash = 0;
        length = 0;
    }
}

/// Joins two hashes (the finisher of splitmix64).
fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.rotate_left(23) ^ b.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// For the fuzzer and the replay of its inputs: the first byte says whether the rest is HTML; must not panic, and no token comes twice.
#[doc(hidden)]
pub fn fuzz_tokens(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let text = [Some(TextKind::Plain), Some(TextKind::Html), None][usize::from(kind) % 3];
    let name = std::str::from_utf8(bytes).ok();
    let part = || crate::Part { bytes, text, decoded: false, file_name: name };
    let content = Content { raw: bytes, subject: name.unwrap_or_default(), from: "", parts: vec![part(), part()] };
    let mut seen = HashSet::new();
    for_each_token(&content, |token| assert!(seen.insert(token)));
    // Each word, and each with the one before it; where the words are too many, one more for each text.
    assert!(seen.len() <= 2 * (WORDS_MAX + 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &[u8], html: bool) -> usize {
        let mut words = 0;
        for_each_word(text, html, |_| {
            words += 1;
            true
        });
        words
    }

    #[test]
    fn words() {
        assert_eq!(count(b"Buy it NOW, don't wait", false), 4);
        assert_eq!(count(b"<p class=\"x\">hello <a href=\"http://evil.example/\">there</a>", true), 5);
        assert_eq!(count(b"<<<<\"", true), 0);
    }
}
