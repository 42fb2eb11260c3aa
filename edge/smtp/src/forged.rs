//! Fields that only we may have written, taken out of a message where it lies.

use memchr::memchr;
use smallvec::SmallVec;
use std::ops::Range;

/// Takes fields out of a message: those for which `is_forged` is true, given a field's name and its value with the folding in it. What is left
/// ends where the message ended; gives the number of octets by which it begins later.
///
/// Cost: one pass over the header section, a line at a time; who calls it bounds its length ([`crate::header::is_too_long`]). Only if something is
/// taken out, what stands before it is moved.
pub fn remove_fields(message: &mut [u8], is_forged: impl Fn(&[u8], &[u8]) -> bool) -> usize {
    let mut forged: SmallVec<[Range<usize>; 4]> = SmallVec::new();
    let mut at = 0;
    while at < message.len() {
        let end = field_end(message, at);
        let field = message.get(at..end).unwrap_or_default();
        if matches!(field.first(), None | Some(b'\r' | b'\n')) {
            break;
        }
        if let Some((name, value)) = memchr(b':', field).and_then(|colon| field.split_at_checked(colon))
            && is_forged(name.trim_ascii_end(), value.get(1..).unwrap_or_default())
        {
            forged.push(at..end);
        }
        at = end;
    }
    let mut removed = 0;
    for (place, range) in forged.iter().enumerate().rev() {
        removed += range.len();
        // Down to the forged field before it everything moves by what was taken out behind it.
        let from = place.checked_sub(1).and_then(|before| forged.get(before)).map_or(0, |before| before.end);
        message.copy_within(from..range.start, from + removed);
    }
    removed
}

/// Where the field that begins at `at` ends, its continuation lines included.
fn field_end(message: &[u8], at: usize) -> usize {
    let mut end = at;
    loop {
        let line = message.get(end..).unwrap_or_default();
        end += memchr(b'\n', line).map_or(line.len(), |newline| newline + 1);
        if !matches!(message.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
}

/// For the fuzzer and the replay of its inputs: what is left is what was not taken out, in its order.
///
/// # Panics
/// If it is not.
#[doc(hidden)]
pub fn fuzz_forged(data: &[u8]) {
    let is_forged = |name: &[u8], value: &[u8]| name.first() == Some(&b'X') || value.contains(&b'!');
    let mut message = data.to_vec();
    let removed = remove_fields(&mut message, is_forged);
    let left = message.get(removed..).unwrap_or_default().to_vec();
    assert_eq!(left.len() + removed, data.len());
    let mut again = left.clone();
    assert_eq!(remove_fields(&mut again, is_forged), 0);
    assert_eq!(again, left);
    let mut rest = data.iter();
    assert!(left.iter().all(|byte| rest.any(|other| other == byte)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(message: &str, name: &str) -> String {
        let mut bytes = message.as_bytes().to_vec();
        let removed = remove_fields(&mut bytes, |field, _| field.eq_ignore_ascii_case(name.as_bytes()));
        String::from_utf8(bytes.split_off(removed)).unwrap()
    }

    #[test]
    fn whole_fields_of_the_header_are_taken_out() {
        let message = "a: 1\r\n 1\r\nX: 2\r\nx : 3\r\n\tmore\r\nB: 4\r\nX:\r\n\r\nX: body\r\n";
        assert_eq!(left(message, "X"), "a: 1\r\n 1\r\nB: 4\r\n\r\nX: body\r\n");
        assert_eq!(left(message, "A"), "X: 2\r\nx : 3\r\n\tmore\r\nB: 4\r\nX:\r\n\r\nX: body\r\n");
        assert_eq!(left(message, "C"), message);
        assert_eq!(left("X: only", "x"), "");
        assert_eq!(left("", "x"), "");
    }
}
