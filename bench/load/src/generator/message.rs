//! Messages to send: generated ones, or those of a folder.

use std::path::Path;

/// Words in lines of 60 to 70 characters, the same every time.
pub fn generated(bytes: usize) -> Vec<u8> {
    let mut text =
        b"From: Load <load@far.example>\nTo: Somebody <somebody@bench.example>\nSubject: a message of the load generator\n\n"
            .to_vec();
    let mut seed = 42_u64;
    let mut column = 0;
    while text.len() < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let length = 2 + (seed >> 60) as usize % 8;
        for step in 0..length {
            text.push(b'a' + ((seed >> (step * 5)) % 26) as u8);
        }
        column += length + 1;
        text.push(if column > 62 { b'\n' } else { b' ' });
        column = if column > 62 { 0 } else { column };
    }
    text.truncate(bytes.saturating_sub(1));
    text.push(b'\n');
    text
}

/// The mails of a folder.
pub fn of_folder(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let mut mails = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))? {
        let file = entry.map_err(|error| error.to_string())?.path();
        mails.push(std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    if mails.is_empty() { Err(format!("{} holds no mails", path.display())) } else { Ok(mails) }
}

/// A message as it goes over the wire, with its terminator.
pub fn wire(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() * 21 / 20);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        //= RFC 5321 section 4.5.2
        //# Before sending a line of mail text, the SMTP client checks the first character of the line. If it is a
        //# period, one additional period is inserted at the beginning of the line.
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_crlf_and_leading_dots_are_doubled() {
        assert_eq!(wire(b"a\n.b\r\nc"), b"a\r\n..b\r\nc\r\n.\r\n");
    }

    #[test]
    fn a_generated_message_has_the_size_asked_for() {
        let message = generated(10_240);
        assert_eq!(message.len(), 10_240);
        assert!(message.split(|byte| *byte == b'\n').all(|line| line.len() < 78));
    }
}
