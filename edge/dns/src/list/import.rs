//! Reads many changes at once: `postring block import`.
//!
//! A line holds what an `ip4set`, `ip4trie`, `ip6trie` or `dnset` of rbldnsd holds, or just an address, a network or a name; which of these it is
//! is seen line by line. `!` hides, `:A:text` alone on a line sets what the entries behind it say, `$n` variables are filled in, other
//! directives are passed over.

use super::asked::{Asked, TextBuffer};
use super::change::{Change, Entry, Key, Verdict};
use super::overlay::{ANSWER_DEFAULT, ENTRIES_MAX};
use super::section::value;
use super::values::{BASE, Values, ValuesBuilder};
use crate::zone::ZoneFileError;
use std::io::BufRead;
use std::net::Ipv4Addr;
use std::path::Path;

/// Octets of a line.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// What is true of all entries of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// What an A query gets of entries that do not say it.
    pub address: Ipv4Addr,
    /// What a TXT query gets of entries that do not say it; `$` stands for the entry.
    pub text: String,
    /// When they end to hold, seconds since 1970; 0: never.
    pub expires: u64,
    /// Now.
    pub made: u64,
    /// Who imports them.
    pub by: String,
    /// Why.
    pub why: String,
}

impl Default for Import {
    fn default() -> Self {
        Self { address: ANSWER_DEFAULT, text: String::new(), expires: 0, made: 0, by: String::new(), why: String::new() }
    }
}

/// Reads a file of entries.
///
/// # Errors
/// The first line that is wrong; more than [`ENTRIES_MAX`] entries; the file cannot be read.
pub fn read_changes(import: &Import, path: &Path, input: &mut dyn BufRead) -> Result<Vec<Change>, ZoneFileError> {
    let mut values = ValuesBuilder::new(Default::default()).finish();
    let mut default = (import.address.octets(), import.text.as_bytes().to_vec());
    let mut changes = Vec::new();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let mut limited = std::io::Read::take(&mut *input, LINE_BYTES_MAX + 1);
        let failed = |text: String| ZoneFileError { place: format!("{}:{number}", path.display()), text };
        let read = limited.read_until(b'\n', &mut line).map_err(|error| failed(format!("cannot be read: {error}")))?;
        if read == 0 {
            break;
        }
        if read as u64 > LINE_BYTES_MAX {
            return Err(failed(format!("a line of more than {LINE_BYTES_MAX} octets")));
        }
        read_line(import, line.trim_ascii(), &mut values, &mut default, &mut changes).map_err(failed)?;
        if changes.len() > ENTRIES_MAX {
            return Err(failed(format!("more than {ENTRIES_MAX} entries; give a list this long as a file")));
        }
    }
    Ok(changes)
}

fn read_line(
    import: &Import,
    line: &[u8],
    values: &mut Values,
    default: &mut ([u8; 4], Vec<u8>),
    changes: &mut Vec<Change>,
) -> Result<(), String> {
    match line {
        [b'$', directive @ ..] | [b'#' | b';' | b':', b'$', directive @ ..] => {
            let variable = match directive {
                [digit @ b'0'..=b'9', b' ' | b'\t', text @ ..] => Some((usize::from(digit - b'0'), text)),
                [b'=', b' ' | b'\t', text @ ..] => Some((BASE, text)),
                _ => None,
            };
            if let Some((variable, text)) = variable
                && let Some(place @ None) = values.variables.get_mut(variable)
            {
                *place = Some(text.trim_ascii().into());
            }
            return Ok(());
        }
        [] | [b'#' | b';', ..] => return Ok(()),
        [b':', ..] if !line.starts_with(b"::") => {
            let (address, text) = value(line, || (import.address.octets(), &[]))?;
            *default = (address, text.unwrap_or_default().to_vec());
            return Ok(());
        }
        _ => {}
    }
    let (hidden, line) = match line {
        [b'!', rest @ ..] => (true, rest.trim_ascii_start()),
        line => (false, line),
    };
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let (listed, rest) = line.split_at(end);
    let rest = rest.trim_ascii_start();
    let (address, template) = match rest.first() {
        None | Some(b'#' | b';') => (default.0, default.1.as_slice()),
        Some(_) => {
            let (address, text) = value(rest, || (default.0, &default.1))?;
            (address, text.unwrap_or(&default.1))
        }
    };
    let keys = Key::parse(std::str::from_utf8(listed).map_err(|_| "an entry that is not ASCII")?)?;
    for key in keys {
        let (verdict, text) = if hidden {
            (Verdict::Hidden, String::new())
        } else {
            let mut text = TextBuffer::new();
            values.write_template(template, &Asked::Text(key.to_string().as_bytes()), &mut text);
            (Verdict::Listed(address.into()), String::from_utf8_lossy(text.text()).into_owned())
        };
        // What was not UTF-8 may have grown.
        let text = text.get(..text.floor_char_boundary(super::change::TEXT_BYTES_MAX)).unwrap_or_default().into();
        changes.push(Change::Put(Entry {
            key,
            verdict,
            text,
            expires: import.expires,
            made: import.made,
            by: import.by.as_str().into(),
            why: import.why.as_str().into(),
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let import = Import { text: "$ was imported".into(), ..Import::default() };
        let changes = read_changes(&import, Path::new("import"), &mut text.as_bytes()).map_err(|error| error.to_string())?;
        let line = |change: &Change| match change {
            Change::Put(Entry { key, verdict: Verdict::Listed(address), text, .. }) => format!("{key} {address} {text}"),
            Change::Put(entry) => format!("{} hidden", entry.key),
            Change::Forget(key) => format!("{key} forgotten"),
        };
        Ok(changes.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn all_forms_line_by_line() {
        let text = "# plain\n192.0.2.1\n192.0.2.2-3\nbad.example\n2001:db8::/32\n::1\n$SOA 1 a b 1 2 3 4 5\n$1 one\n:3:$ has $1\n.worse.example\n\
                    198.51.100.0/24 :4:own\n!198.51.100.7\n203.0.113.1 $1 $$\n";
        let expected = "192.0.2.1 127.0.0.2 192.0.2.1 was imported\n192.0.2.2/31 127.0.0.2 192.0.2.2/31 was imported\n\
                        bad.example 127.0.0.2 bad.example was imported\n2001:db8::/32 127.0.0.2 2001:db8::/32 was imported\n::1 127.0.0.2 ::1 was imported\n\
                        worse.example 127.0.0.3 worse.example has one\n*.worse.example 127.0.0.3 *.worse.example has one\n\
                        198.51.100.0/24 127.0.0.4 own\n198.51.100.7 hidden\n203.0.113.1 127.0.0.3 one $";
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(
            read("a\n\n192.0.2.1/24\n").unwrap_err(),
            "import:3: \"192.0.2.1/24\" is no network: bits behind the prefix are set"
        );
    }
}
