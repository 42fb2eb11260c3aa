//! The journal of changes: one line a change, appended, so that they are kept over restarts.
//!
//! ```text
//!   3f2a9c01 bl.example put 192.0.2.0/24 listed 127.0.0.2 made=1764000000 expires=0 by="anna" why="spam run" text="see /why"
//!   77b01d44 bl.example put good.example hidden made=1764000000 expires=1766000000 by="anna" why="" text=""
//!   08c1e2f5 bl.example forget 192.0.2.0/24
//! ```
//! The first word is the CRC-32 of what stands behind it. In strings `"`, `\` and control characters are written `\DDD`, as in a master file. A
//! line that was torn by a crash is at the end and is left out; [`Decoded::good_bytes`] says where to go on writing. To make the journal
//! short again, write [`super::Overlay::iter`] to a new file with [`encode_change`] and rename it over the old one.

use super::change::{Change, Entry, Key, Scope, Verdict, answer_address};
use crate::name::Name;
use std::fmt::Write;

/// Octets of the longest line: a list's name and a key of 1,004 octets as text, three strings of 255 at four octets each, and words.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Writes a change of a list as a line at the end of `out`.
pub fn encode_change(list: &Name, change: &Change, out: &mut Vec<u8>) {
    let mut line = String::with_capacity(128);
    let list = list.to_string();
    // Writing to a String cannot fail.
    let _ = match change {
        Change::Forget(key) => write!(line, "{} forget {key}", list.trim_end_matches('.')),
        Change::Put(entry) => write!(line, "{} put {} ", list.trim_end_matches('.'), entry.key).and_then(|()| {
            match entry.verdict {
                Verdict::Listed(address) => write!(line, "listed {address}")?,
                Verdict::Hidden => line.push_str("hidden"),
            }
            write!(line, " made={} expires={}", entry.made, entry.expires)?;
            for (word, text) in [("by", &entry.by), ("why", &entry.why), ("text", &entry.text)] {
                write!(line, " {word}=\"")?;
                for character in text.chars() {
                    match character {
                        '"' | '\\' | '\0'..='\x1f' | '\x7f' => write!(line, "\\{:03}", u32::from(character))?,
                        character => line.push(character),
                    }
                }
                line.push('"');
            }
            Ok(())
        }),
    };
    out.extend_from_slice(format!("{:08x} ", crc32fast::hash(line.as_bytes())).as_bytes());
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

/// What was read of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Changes that were whole.
    pub changes: usize,
    /// Lines that are not, though there are whole ones behind: the file was damaged, not torn.
    pub damaged: usize,
    /// Octets up to the end of the last whole line: where to write on.
    pub good_bytes: usize,
}

/// Reads a journal; `each` is given the changes in their order, with the list's name.
pub fn decode_changes(journal: &[u8], each: &mut dyn FnMut(Name, Change)) -> Decoded {
    let mut decoded = Decoded::default();
    let (mut at, mut bad) = (0, 0);
    for line in journal.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        match line.strip_suffix(b"\n").filter(|line| line.len() <= LINE_BYTES_MAX).and_then(decode) {
            Some((list, change)) => {
                decoded.changes += 1;
                decoded.damaged += bad;
                (bad, decoded.good_bytes) = (0, at);
                each(list, change);
            }
            None => bad += 1,
        }
    }
    decoded
}

fn decode(line: &[u8]) -> Option<(Name, Change)> {
    let line = std::str::from_utf8(line).ok()?;
    let (sum, line) = line.split_once(' ')?;
    if sum.len() != 8 || u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(line.as_bytes()) {
        return None;
    }
    let (list, line) = line.split_once(' ')?;
    let (verb, line) = line.split_once(' ')?;
    let list = Name::absolute(list).ok()?;
    let (key_text, rest) = line.split_once(' ').unwrap_or((line, ""));
    let key = key(key_text)?;
    match verb {
        "forget" if rest.is_empty() => Some((list, Change::Forget(key))),
        "put" => Some((list, Change::Put(entry(key, rest)?))),
        _ => None,
    }
}

fn key(text: &str) -> Option<Key> {
    let mut keys = Key::parse(text).ok()?;
    // A name of digits only is a name here, if nothing else: a key is written in one way.
    if keys.len() != 1 || keys.first()?.to_string() != text {
        let name = Name::absolute(text.strip_prefix("*.").unwrap_or(text)).ok()?;
        let scope = if text.starts_with("*.") { Scope::Below } else { Scope::Own };
        let key = Key::Name(name.to_key().wire().into(), scope);
        return Some(key).filter(|key| key.is_sound() && key.to_string() == text);
    }
    keys.pop()
}

fn entry(key: Key, rest: &str) -> Option<Entry> {
    let (verdict, rest) = match rest.strip_prefix("listed ") {
        Some(rest) => {
            let (address, rest) = rest.split_once(' ')?;
            (Verdict::Listed(answer_address(address).ok()?), rest)
        }
        None => (Verdict::Hidden, rest.strip_prefix("hidden ")?),
    };
    let (made, rest) = rest.strip_prefix("made=")?.split_once(' ')?;
    let (expires, rest) = rest.strip_prefix("expires=")?.split_once(' ')?;
    let (by, rest) = string(rest.strip_prefix("by=")?)?;
    let (why, rest) = string(rest.strip_prefix(" why=")?)?;
    let (text, rest) = string(rest.strip_prefix(" text=")?)?;
    rest.is_empty().then_some(())?;
    Some(Entry { key, verdict, text, expires: expires.parse().ok()?, made: made.parse().ok()?, by, why })
}

/// A string in quotes, and what is behind it.
fn string(text: &str) -> Option<(Box<str>, &str)> {
    let text = text.strip_prefix('"')?;
    let end = text.find('"')?;
    let (mut inner, behind) = (text.get(..end)?, text.get(end + 1..)?);
    let mut out = String::with_capacity(inner.len());
    while let Some(backslash) = inner.find('\\') {
        out.push_str(inner.get(..backslash)?);
        out.push(char::from(inner.get(backslash + 1..backslash + 4)?.parse::<u8>().ok()?));
        inner = inner.get(backslash + 4..)?;
    }
    out.push_str(inner);
    Some((out.into(), behind))
}

/// For the fuzzer and the replay of its inputs: reads anything; what is read is written as it was read. Must not panic.
#[doc(hidden)]
pub fn fuzz_journal(data: &[u8]) {
    let overlay = super::Overlay::new();
    let mut again = Vec::new();
    let decoded = decode_changes(data, &mut |list, change| {
        let before = again.len();
        encode_change(&list, &change, &mut again);
        let mut same = None;
        decode_changes(again.get(before..).unwrap_or_default(), &mut |list, change| same = Some((list, change)));
        assert_eq!(same, Some((list, change.clone())));
        let _ = overlay.apply([change]);
    });
    assert!(decoded.good_bytes <= data.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(journal: &[u8]) -> (Decoded, Vec<Change>) {
        let mut changes = Vec::new();
        (decode_changes(journal, &mut |_, change| changes.push(change)), changes)
    }

    fn put(text: &str, by: &str) -> Change {
        let key = Key::parse(text).unwrap().pop().unwrap();
        let verdict = Verdict::Listed([127, 0, 0, 2].into());
        Change::Put(Entry { key, verdict, text: "a \"text\"\n".into(), expires: 9, made: 8, by: by.into(), why: "\\".into() })
    }

    #[test]
    fn a_torn_end_is_left_out_and_damage_is_told() {
        let list = Name::absolute("bl.example").unwrap();
        let changes =
            [put("192.0.2.0/24", "ä"), Change::Forget(Key::parse("*.a.b").unwrap().pop().unwrap()), put("2001:db8::/32", "")];
        let mut journal = Vec::new();
        let mut ends = vec![0];
        for change in &changes {
            encode_change(&list, change, &mut journal);
            ends.push(journal.len());
        }
        assert_eq!(all(&journal), (Decoded { changes: 3, damaged: 0, good_bytes: journal.len() }, changes.to_vec()));
        for length in 0..journal.len() {
            let whole = ends.iter().rposition(|end| *end <= length).unwrap();
            let expected = Decoded { changes: whole, damaged: 0, good_bytes: ends[whole] };
            assert_eq!(all(&journal[..length]), (expected, changes[..whole].to_vec()), "{length}");
        }
        journal[ends[1] + 20] ^= 1;
        assert_eq!(all(&journal).0, Decoded { changes: 2, damaged: 1, good_bytes: journal.len() });
        assert_eq!(all(&journal).1, [changes[0].clone(), changes[2].clone()]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[a-zA-Z0-9.*\\\\-]{1,30}", by in ".{0,40}", why in "\\PC{0,40}", expires: u64, hidden: bool) {
            let Ok(keys) = Key::parse(&name) else { return Ok(()) };
            let list = Name::absolute("bl.example").unwrap();
            let verdict = if hidden { Verdict::Hidden } else { Verdict::Listed([127, 0, 0, 9].into()) };
            for key in keys {
                let change = Change::Put(Entry { key, verdict, text: why.as_str().into(), expires, made: 1, by: by.as_str().into(), why: why.as_str().into() });
                let mut journal = Vec::new();
                encode_change(&list, &change, &mut journal);
                prop_assert_eq!(all(&journal).1, vec![change]);
            }
        }
    }
}
