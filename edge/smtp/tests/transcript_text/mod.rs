//! How octets are written in transcripts; shared with whoever holds them over a wire.

/// The bytes a `C:` line stands for.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let repeat = rest.strip_prefix('{').and_then(|inner| {
            let (what, behind) = inner.split_once('}')?;
            let (what, times) = what.rsplit_once('*')?;
            Some((what, times.parse::<usize>().ok()?, behind))
        });
        if let Some((what, times, behind)) = repeat {
            out.extend(bytes(what).repeat(times));
            rest = behind;
        } else if let Some(escaped) = rest.strip_prefix('\\') {
            let kind = escaped.chars().next().expect("something behind the backslash");
            rest = &escaped[1..];
            match kind {
                'r' => out.push(b'\r'),
                'n' => out.push(b'\n'),
                't' => out.push(b'\t'),
                '0' => out.push(0),
                '\\' => out.push(b'\\'),
                'x' => {
                    out.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                    rest = &rest[2..];
                }
                other => panic!("\\{other}"),
            }
        } else {
            out.extend(first.to_string().bytes());
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}
