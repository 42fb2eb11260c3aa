//! `$GENERATE START-STOP[/STEP] OWNER [TTL] [CLASS] TYPE DATA`: BIND's directive for series of records, which NSD and Knot read as well.
//!
//! ```text
//!   $        the number            \$  a dollar
//!   ${OFFSET[,WIDTH[,BASE]]}       the number plus OFFSET, padded with zeros to WIDTH, in base d, o, x, X, or n, N (nibbles with dots)
//! ```

use super::text::Word;
use std::fmt::Write;

/// Records of all directives of one zone: a /12 of addresses.
pub(super) const GENERATED_MAX: u64 = 1 << 20;
/// Characters a number is padded to at most: as many as a label has.
const WIDTH_MAX: usize = 63;

/// A series of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Series {
    start: u32,
    stop: u32,
    step: u32,
}

impl Series {
    /// Reads `START-STOP[/STEP]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no range; write it as 1-254 or 0-100/2");
        let (range, step) = text.split_once('/').unwrap_or((text, "1"));
        let (start, stop) = range.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let series = Self { start: number(start)?, stop: number(stop)?, step: number(step)? };
        if series.step == 0 || series.start > series.stop { Err(wrong()) } else { Ok(series) }
    }

    /// How many numbers it has.
    pub(super) fn count(self) -> u64 {
        u64::from((self.stop - self.start) / self.step) + 1
    }

    /// The numbers.
    pub(super) fn numbers(self) -> impl Iterator<Item = u32> {
        (self.start..=self.stop).step_by(usize::try_from(self.step).unwrap_or(usize::MAX))
    }
}

/// The line of one number: all words with their dollars replaced.
pub(super) fn line(words: &[Word<'_>], number: u32) -> Result<String, String> {
    let mut line = String::new();
    for (place, word) in words.iter().enumerate() {
        if place > 0 {
            line.push(' ');
        }
        if word.quoted {
            line.push('"');
        }
        replace(word.text, number, &mut line)?;
        if word.quoted {
            line.push('"');
        }
    }
    line.push('\n');
    Ok(line)
}

fn replace(text: &str, number: u32, out: &mut String) -> Result<(), String> {
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let behind = rest.get(character.len_utf8()..).unwrap_or_default();
        rest = match character {
            '\\' if behind.starts_with('$') => {
                out.push('$');
                behind.get(1..).unwrap_or_default()
            }
            '\\' => {
                out.push('\\');
                // What is escaped stays so.
                let length = behind.chars().next().map_or(0, char::len_utf8);
                out.push_str(behind.get(..length).unwrap_or_default());
                behind.get(length..).unwrap_or_default()
            }
            '$' => match behind.strip_prefix('{') {
                None => {
                    let _ = write!(out, "{number}");
                    behind
                }
                Some(behind) => {
                    let (format, behind) = behind.split_once('}').ok_or_else(|| format!("\"{text}\" has a ${{ without a }}"))?;
                    out.push_str(&formatted(format, number).ok_or_else(|| {
                        format!("\"${{{format}}}\" is no format; write it as ${{OFFSET,WIDTH,BASE}}, the base being d, o, x, X, n or N")
                    })?);
                    behind
                }
            },
            character => {
                out.push(character);
                behind
            }
        };
    }
    Ok(())
}

fn formatted(format: &str, number: u32) -> Option<String> {
    let mut parts = format.split(',');
    let offset: i64 = parts.next()?.parse().ok()?;
    let width = parts.next().map_or(Some(0), |width| width.parse::<usize>().ok()).filter(|width| *width <= WIDTH_MAX)?;
    let base = parts.next().unwrap_or("d");
    let value = u32::try_from(i64::from(number).checked_add(offset)?).ok()?;
    if parts.next().is_some() {
        return None;
    }
    Some(match base {
        "d" => format!("{value:0width$}"),
        "o" => format!("{value:0width$o}"),
        "x" => format!("{value:0width$x}"),
        "X" => format!("{value:0width$X}"),
        "n" => nibbles(&format!("{value:x}"), width),
        "N" => nibbles(&format!("{value:X}"), width),
        _ => return None,
    })
}

/// The last digit first, dots between; the width counts the dots.
fn nibbles(digits: &str, width: usize) -> String {
    let count = digits.len().max(width.div_ceil(2));
    let padded = digits.chars().rev().chain(std::iter::repeat('0')).take(count);
    padded.map(String::from).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::words_of;

    #[test]
    fn dollars() {
        for (text, expected) in [
            ("host-$ A 192.0.2.$", "host-26 A 192.0.2.26\n"),
            ("${0,4,d}.${-1} ${1,2,x} ${0,0,X}", "0026.25 1b 1A\n"),
            ("${0,3,n}.x ${0,7,N}", "a.1.x A.1.0.0\n"),
            (r#"a\$b\\$ TXT "x; $ y""#, "a$b\\\\26 TXT \"x; 26 y\"\n"),
        ] {
            assert_eq!(line(&words_of(text), 26).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${0", "${x}", "${0,64}", "${0,1,q}", "${-27}", "${0,1,d,d}"] {
            assert!(line(&words_of(text), 26).is_err(), "{text}");
        }
    }

    #[test]
    fn series() {
        let numbers = |text: &str| Series::parse(text).map(|series| (series.count(), series.numbers().collect::<Vec<_>>()));
        assert_eq!(numbers("1-5/2"), Ok((3, vec![1, 3, 5])));
        assert_eq!(numbers("7-7"), Ok((1, vec![7])));
        assert_eq!(Series::parse("0-4294967295").map(Series::count), Ok(1 << 32));
        for text in ["5-1", "1", "1-2/0", "a-b", "-1-2"] {
            assert!(Series::parse(text).is_err(), "{text}");
        }
    }
}
