//! A message's tokens: hashes of words and of pairs of neighbours, from subject, sender and text.

use crate::Content;
use crate::content::TextKind;

/// Words looked at in one message; a mail says what it is early.
const WORDS_MAX: usize = 1500;
/// Each word, and each with the one before it; where the words are too many, one more for each text.
const TOKENS_MAX: usize = 2 * (WORDS_MAX + 16);
const WORD_BYTES_MIN: usize = 3;
const WORD_BYTES_MAX: usize = 40;
/// Places of the table that says which tokens there were; a power of two, never half full.
const PLACES: usize = 8192;

const _: () = assert!(PLACES.is_power_of_two() && PLACES >= 2 * TOKENS_MAX);

/// Finds the tokens of one message after the other; its memory is used again.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// Tokens by their lower bits (they are spread already), 0 in free places.
    seen: Box<[u64]>,
    tokens: Vec<u64>,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self { seen: vec![0; PLACES].into_boxed_slice(), tokens: Vec::with_capacity(TOKENS_MAX) }
    }
}

impl Tokenizer {
    /// Every different token of a message, in the order they come. The hash is part of the store's format.
    ///
    /// Cost: a look at every byte, a multiplication for every byte of a word, 64 KiB of table cleared; no allocation.
    pub fn tokens(&mut self, content: &Content<'_>) -> &[u64] {
        self.seen.fill(0);
        self.tokens.clear();
        let mut words = 0;
        let mut take = |prefix: u64, text: &[u8], html: bool| {
            let mut previous = None;
            for_each_word(text, html, |hash| {
                words += 1;
                let word = mix(prefix, hash);
                self.add(word);
                if let Some(previous) = previous {
                    self.add(mix(previous, word));
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
        &self.tokens
    }

    /// Adds a token that was not there. One more than there is room for is left out.
    fn add(&mut self, token: u64) {
        // 0 says that a place is free, here and in the store.
        let token = token.max(1);
        #[allow(clippy::cast_possible_truncation)] // masked
        let mut at = token as usize & (PLACES - 1);
        while let Some(place) = self.seen.get_mut(at) {
            if *place == token || (*place == 0 && self.tokens.len() >= TOKENS_MAX) {
                return;
            }
            if *place == 0 {
                *place = token;
                return self.tokens.push(token);
            }
            at = (at + 1) & (PLACES - 1);
        }
    }
}

/// For each byte: 0 if it ends a word, else the byte it counts as.
const LETTERS: [u8; 256] = {
    let mut letters = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let letter = byte as u8;
        if letter.is_ascii_alphanumeric() || letter >= 0x80 || matches!(letter, b'\'' | b'-' | b'$' | b'!') {
            letters[byte] = letter.to_ascii_lowercase();
        }
        byte += 1;
    }
    letters
};

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
        let letter = LETTERS[usize::from(byte)];
        if letter != 0 {
            hash = (hash ^ u64::from(letter)).wrapping_mul(0x0100_0000_01b3);
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
    let mut tokenizer = Tokenizer::default();
    let tokens = tokenizer.tokens(&content).to_vec();
    let different: std::collections::HashSet<u64> = tokens.iter().copied().collect();
    assert!(different.len() == tokens.len() && tokens.len() <= TOKENS_MAX && !different.contains(&0));
    // Nothing of a message is left for the next.
    assert_eq!(tokenizer.tokens(&content), tokens);
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
