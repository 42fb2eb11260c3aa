//! A message from a file, as it was on the wire.

use std::io::Read;
use std::path::Path;

/// The message of a file, or of standard input for `-`, with the line ends that were signed.
pub fn message(file: &Path) -> Result<Vec<u8>, String> {
    read(file).map(with_crlf)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut message = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut message)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut message))
    };
    read.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(message)
}

/// The line ends that were signed: a message whose first line ends in a lone LF was stored with such.
fn with_crlf(message: Vec<u8>) -> Vec<u8> {
    let first = message.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.ends_with(b"\r") {
        return message;
    }
    let mut out = Vec::with_capacity(message.len() + message.len() / 32);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::with_crlf;

    #[test]
    fn line_ends() {
        for (stored, signed) in
            [("a: b\n\nc", "a: b\r\n\r\nc"), ("a: b\r\n\r\nc\nd\r\n", "a: b\r\n\r\nc\nd\r\n"), ("", ""), ("a\rb\n", "a\rb\r\n")]
        {
            assert_eq!(with_crlf(stored.as_bytes().to_vec()), signed.as_bytes());
        }
    }
}
