//! Cuts a master file into entries and their words (RFC 1035 section 5.1): parentheses, comments, quotes, escapes.

/// One word of an entry, escapes untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word<'t> {
    pub text: &'t str,
    pub quoted: bool,
}

/// One entry: a logical line.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'t> {
    /// Where it begins, from 1.
    pub line: usize,
    /// It begins with a blank: the owner is the one before.
    pub same_owner: bool,
    pub words: Vec<Word<'t>>,
}

/// The next entry and the rest of the text; `None` at the end.
///
/// # Errors
/// The line and what is wrong with it.
pub(crate) fn next_entry<'t>(text: &mut &'t str, line: &mut usize) -> Result<Option<Entry<'t>>, (usize, String)> {
    loop {
        if text.is_empty() {
            return Ok(None);
        }
        let entry = read_entry(text, line)?;
        if !entry.words.is_empty() {
            return Ok(Some(entry));
        }
    }
}

fn read_entry<'t>(text: &mut &'t str, line: &mut usize) -> Result<Entry<'t>, (usize, String)> {
    let mut entry = Entry { line: *line, same_owner: text.starts_with([' ', '\t']), words: Vec::new() };
    let mut open: Option<usize> = None;
    loop {
        *text = text.trim_start_matches([' ', '\t', '\r']);
        let Some(first) = text.bytes().next() else { break };
        match first {
            b'\n' => {
                *text = text.get(1..).unwrap_or_default();
                *line += 1;
                if open.is_none() {
                    return Ok(entry);
                }
            }
            b';' => *text = text.get(text.find('\n').unwrap_or(text.len())..).unwrap_or_default(),
            b'(' | b')' => {
                match (first, open) {
                    (b'(', None) => open = Some(*line),
                    (b'(', Some(_)) => return Err((*line, "a parenthesis within parentheses".to_owned())),
                    (_, Some(_)) => open = None,
                    (_, None) => return Err((*line, "a closing parenthesis without an opening one".to_owned())),
                }
                *text = text.get(1..).unwrap_or_default();
            }
            b'"' => {
                let length = quoted_length(text.get(1..).unwrap_or_default())
                    .ok_or((*line, "a string in quotes that does not end on its line".to_owned()))?;
                entry.words.push(Word { text: text.get(1..=length).unwrap_or_default(), quoted: true });
                *text = text.get(length + 2..).unwrap_or_default();
            }
            _ => {
                let length = plain_length(text);
                entry.words.push(Word { text: text.get(..length).unwrap_or_default(), quoted: false });
                *text = text.get(length..).unwrap_or_default();
            }
        }
    }
    match open {
        Some(line) => Err((line, "a parenthesis that is never closed".to_owned())),
        None => Ok(entry),
    }
}

fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

fn plain_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' => return at,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b' ' | b'\t' | b'\r' | b';' | b'(' | b')' | b'"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// Seconds, as a number or with units: `1h30m` (a BIND habit all servers share).
pub(crate) fn seconds(text: &str) -> Option<u32> {
    if !text.bytes().next()?.is_ascii_digit() {
        return None;
    }
    let (mut total, mut number, mut digits) = (0_u32, 0_u32, false);
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            number = number.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
            digits = true;
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        if !std::mem::take(&mut digits) {
            return None;
        }
        total = total.checked_add(std::mem::take(&mut number).checked_mul(unit)?)?;
    }
    total.checked_add(number).filter(|total| *total <= i32::MAX.unsigned_abs())
}

/// The octets of a word, its escapes resolved.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let wrong = || format!("in \"{text}\" a backslash must be followed by a character or three digits up to 255");
        let first = bytes.next().ok_or_else(wrong)?;
        if !first.is_ascii_digit() {
            out.push(first);
            continue;
        }
        let digits: String = std::iter::once(first).chain(bytes.by_ref().take(2)).map(char::from).collect();
        out.push(Some(digits).filter(|digits| digits.len() == 3).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?);
    }
    Ok(out)
}

/// The words of one entry, for tests.
#[cfg(test)]
pub(crate) fn words_of(text: &str) -> Vec<Word<'_>> {
    let (mut rest, mut line) = (text, 1);
    next_entry(&mut rest, &mut line).unwrap().unwrap().words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let mut text = "a 1 ( 2 ; two\n \"x y;\\\"\" ) z\n\n  b\\ c;d\n";
        let mut line = 1;
        let first = next_entry(&mut text, &mut line).unwrap().unwrap();
        let words: Vec<&str> = first.words.iter().map(|word| word.text).collect();
        assert_eq!(words, ["a", "1", "2", "x y;\\\"", "z"]);
        assert!(first.words[3].quoted && !first.same_owner);
        let second = next_entry(&mut text, &mut line).unwrap().unwrap();
        assert_eq!((second.line, second.same_owner, second.words[0].text), (4, true, "b\\ c"));
        assert!(next_entry(&mut text, &mut line).unwrap().is_none());
        for (bad, at) in [("a (\n b\n", 1), ("\na )\n", 2), ("a \"b\n", 1), ("( (", 1)] {
            let (mut text, mut line) = (bad, 1);
            assert_eq!(next_entry(&mut text, &mut line).unwrap_err().0, at, "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!([seconds("300"), seconds("1h30m"), seconds("2W")], [Some(300), Some(5400), Some(1_209_600)]);
        assert_eq!([seconds("h"), seconds("1x"), seconds("99999999999"), seconds("1hh")], [None; 4]);
    }
}
