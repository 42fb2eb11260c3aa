//! The verdict of a scan: symbols with weights, as the scanner writes it into its ring's payload.
//!
//! ```text
//!   u8 version (1)   u8 outcome   u16 symbols   i32 score in thousandths
//!   symbols times:  i32 weight in thousandths   u16+bytes name   u16+bytes detail
//! ```
//! All little-endian; texts are UTF-8. A scanner taken over by a mail can only lie in here: the edge reads
//! it with checks, and a verdict that cannot be read counts as a scan that failed.

use crate::limits::{SYMBOL_DETAIL_BYTES_MAX, SYMBOL_NAME_BYTES_MAX, SYMBOLS_MAX, VERDICT_BYTES_MAX};
use crate::wire::{Reader, Writer};

const VERSION: u8 = 1;

/// What the scan came to, before policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// All engines ran to their end.
    Complete = 0,
    /// A limit (time, depth, bytes) ended the scan early; what was found stands.
    Partial = 1,
    /// A malware engine is certain: the message is refused whatever the score.
    Malware = 2,
    /// The scan could not be done; the symbols say why.
    Failed = 3,
}

/// One finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Upper-case name (`GTUBE`, `BAYES_SPAM`, `YARA_…`).
    pub name: &'a str,
    /// Weight in thousandths of a point; negative speaks for the message.
    pub weight_milli: i32,
    /// What was found, for people; may be empty.
    pub detail: &'a str,
}

/// Collects symbols straight in the encoded form. Bounded: what does not fit is dropped but still scored.
pub struct VerdictWriter {
    buffer: [u8; VERDICT_BYTES_MAX],
    length: usize,
    symbols: u16,
    score_milli: i32,
    outcome: Outcome,
}

impl Default for VerdictWriter {
    fn default() -> Self {
        Self { buffer: [0; VERDICT_BYTES_MAX], length: 8, symbols: 0, score_milli: 0, outcome: Outcome::Complete }
    }
}

/// Cuts a text to at most `bytes`, never inside a character.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

impl VerdictWriter {
    /// Begins again, for the next message.
    pub fn clear(&mut self) {
        self.length = 8;
        self.symbols = 0;
        self.score_milli = 0;
        self.outcome = Outcome::Complete;
    }

    /// Adds a finding; name and detail are cut at their limits.
    pub fn push(&mut self, symbol: Symbol<'_>) {
        self.score_milli = self.score_milli.saturating_add(symbol.weight_milli);
        if usize::from(self.symbols) >= SYMBOLS_MAX {
            return;
        }
        let Some(room) = self.buffer.get_mut(self.length..) else { return };
        let mut writer = Writer::new(room);
        if writer.bytes(&symbol.weight_milli.to_le_bytes())
            && writer.short_bytes(cut(symbol.name, SYMBOL_NAME_BYTES_MAX).as_bytes())
            && writer.short_bytes(cut(symbol.detail, SYMBOL_DETAIL_BYTES_MAX).as_bytes())
        {
            self.length += writer.len();
            self.symbols += 1;
        }
    }

    /// Says how the scan ended; the gravest said stands (`Failed` over `Malware` over `Partial` over `Complete`).
    pub fn set_outcome(&mut self, outcome: Outcome) {
        if outcome as u8 > self.outcome as u8 {
            self.outcome = outcome;
        }
    }

    /// The sum of the weights so far, thousandths.
    #[must_use]
    pub fn score_milli(&self) -> i32 {
        self.score_milli
    }

    /// The encoded verdict.
    pub fn finish(&mut self) -> &[u8] {
        let mut writer = Writer::new(&mut self.buffer);
        let fits = writer.bytes(&[VERSION, self.outcome as u8])
            && writer.bytes(&self.symbols.to_le_bytes())
            && writer.bytes(&self.score_milli.to_le_bytes());
        debug_assert!(fits);
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

/// A checked reading of a verdict.
#[derive(Clone, Copy, Debug)]
pub struct VerdictView<'a> {
    /// How the scan ended.
    pub outcome: Outcome,
    /// The sum of all weights, also of symbols that were dropped; thousandths of a point.
    pub score_milli: i32,
    symbols: &'a [u8],
}

/// The bytes are no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictBroken;

impl<'a> VerdictView<'a> {
    /// Reads and checks a verdict.
    ///
    /// # Errors
    /// [`VerdictBroken`] if anything is not as the format says.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, VerdictBroken> {
        Self::read(bytes).ok_or(VerdictBroken)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let outcome = match reader.u8()? {
            0 => Outcome::Complete,
            1 => Outcome::Partial,
            2 => Outcome::Malware,
            3 => Outcome::Failed,
            _ => return None,
        };
        let count = reader.u16()?;
        let score_milli = i32::from_le_bytes(reader.array()?);
        let symbols = bytes.get(8..)?;
        if usize::from(count) > SYMBOLS_MAX {
            return None;
        }
        for _ in 0..count {
            read_symbol(&mut reader)?;
        }
        reader.is_empty().then_some(Self { outcome, score_milli, symbols })
    }

    /// The findings.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol<'a>> + use<'a> {
        let mut reader = Reader::new(self.symbols);
        std::iter::from_fn(move || read_symbol(&mut reader))
    }
}

fn read_symbol<'a>(reader: &mut Reader<'a>) -> Option<Symbol<'a>> {
    let weight_milli = i32::from_le_bytes(reader.array()?);
    let name = reader.short_str()?;
    let detail = reader.short_str()?;
    let printable = |text: &str| text.chars().all(|c| !c.is_control());
    (name.len() <= SYMBOL_NAME_BYTES_MAX && detail.len() <= SYMBOL_DETAIL_BYTES_MAX && printable(name)).then_some(Symbol {
        name,
        weight_milli,
        detail,
    })
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_verdict(data: &[u8]) {
    if let Ok(view) = VerdictView::parse(data) {
        assert!(view.symbols().count() <= SYMBOLS_MAX);
        for symbol in view.symbols() {
            assert!(symbol.name.len() <= SYMBOL_NAME_BYTES_MAX && symbol.detail.len() <= SYMBOL_DETAIL_BYTES_MAX);
            assert!(!symbol.name.contains(char::is_control));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = VerdictWriter::default();
        writer.push(Symbol { name: "BAYES_SPAM", weight_milli: 3500, detail: "0.99" });
        writer.push(Symbol { name: "DKIM_OK", weight_milli: -500, detail: "" });
        writer.set_outcome(Outcome::Partial);
        let bytes = writer.finish().to_vec();
        let view = VerdictView::parse(&bytes).unwrap();
        assert_eq!((view.outcome, view.score_milli), (Outcome::Partial, 3000));
        assert_eq!(view.symbols().map(|s| s.name).collect::<Vec<_>>(), ["BAYES_SPAM", "DKIM_OK"]);
        assert!(VerdictView::parse(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn too_many_symbols_are_scored_but_not_kept() {
        let mut writer = VerdictWriter::default();
        for _ in 0..10_000 {
            writer.push(Symbol { name: &"N".repeat(300), weight_milli: 10, detail: &"ü".repeat(300) });
        }
        let bytes = writer.finish();
        assert!(bytes.len() <= VERDICT_BYTES_MAX);
        assert_eq!(VerdictView::parse(bytes).unwrap().score_milli, 100_000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            fuzz_verdict(&data);
        }
    }
}
