//! Questions: from `NAME TYPE`, a line each, to packets that need an id only.

/// IANA's numbers of the types that are asked for; others as `TYPE65280` (RFC 3597).
const TYPES: [(&str, u16); 16] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("DS", 43),
    ("DNSKEY", 48),
    ("TLSA", 52),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("ANY", 255),
    ("CAA", 257),
];

/// Packets one behind the other, and where each ends.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// OPT with this UDP size (RFC 6891).
    edns: Option<u16>,
}

impl Questions {
    /// Without EDNS, as dnsperf asks of itself, or with this UDP size.
    pub fn new(edns: Option<u16>) -> Self {
        Self { edns, ..Self::default() }
    }

    /// Lines of `NAME TYPE`; empty ones, and those that begin with `#` or `;`, are passed over.
    pub fn read(text: &str, edns: Option<u16>) -> Result<Self, String> {
        let mut questions = Self::new(edns);
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']));
        for (number, line) in lines {
            let mut words = line.split_ascii_whitespace();
            let (name, rtype) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            questions.push(name, rtype).map_err(|error| format!("line {}: {error}", number + 1))?;
        }
        if questions.len() == 0 { Err("no questions".to_owned()) } else { Ok(questions) }
    }

    /// `{}` in the name becomes 0, 1, … in turn.
    pub fn generated(name: &str, rtype: &str, count: u32, edns: Option<u16>) -> Result<Self, String> {
        let mut questions = Self::new(edns);
        let count = if name.contains("{}") { count.max(1) } else { 1 };
        for number in 0..count {
            questions.push(&name.replace("{}", &number.to_string()), rtype)?;
        }
        Ok(questions)
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The packet of a question, its id 0; they begin anew behind the last.
    pub fn packet(&self, number: usize) -> &[u8] {
        let index = number % self.ends.len().max(1);
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(index).and_then(|end| self.bytes.get(start..*end)).unwrap_or_default()
    }

    pub fn push(&mut self, name: &str, rtype: &str) -> Result<(), String> {
        let number = TYPES.iter().find(|(text, _)| text.eq_ignore_ascii_case(rtype)).map(|(_, number)| *number);
        let unknown = || rtype.to_ascii_uppercase().strip_prefix("TYPE")?.parse().ok();
        let number =
            number.or_else(unknown).ok_or_else(|| format!("\"{rtype}\" is no type: give NAME TYPE, like example.org MX"))?;
        let begin = self.bytes.len();
        // RFC 1035 section 4.1.1: id, RD, one question, and RFC 6891 section 6.1.1: one OPT.
        self.bytes.extend([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        for label in name.split('.').filter(|label| !label.is_empty()) {
            let length = u8::try_from(label.len()).ok().filter(|length| *length < 64);
            let Some(length) = length else {
                self.bytes.truncate(begin);
                return Err(format!("\"{label}\" is longer than 63 bytes"));
            };
            self.bytes.push(length);
            self.bytes.extend(label.as_bytes());
        }
        if self.bytes.len() - begin > 12 + 254 {
            self.bytes.truncate(begin);
            return Err(format!("\"{name}\" is longer than 255 bytes"));
        }
        self.bytes.push(0);
        self.bytes.extend(number.to_be_bytes());
        self.bytes.extend([0, 1]);
        if let Some(size) = self.edns {
            let [high, low] = size.to_be_bytes();
            self.bytes.extend([0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
        }
        self.ends.push(self.bytes.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_packet() {
        let questions = Questions::read("# head\n\nexample.org MX\n_dmarc.example.org. txt\nx TYPE65280\n", None).unwrap();
        assert_eq!(questions.len(), 3);
        assert_eq!(questions.packet(0), b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x0f\0\x01");
        assert_eq!(questions.packet(1), b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x06_dmarc\x07example\x03org\0\0\x10\0\x01");
        assert_eq!(questions.packet(5), b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x01x\0\xff\0\0\x01");
    }

    #[test]
    fn edns_is_an_opt_behind_the_question() {
        let questions = Questions::read("x A", Some(1232)).unwrap();
        assert_eq!(questions.packet(0), b"\0\0\x01\0\0\x01\0\0\0\0\0\x01\x01x\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
    }

    #[test]
    fn what_is_wrong_has_a_line() {
        let long = "a".repeat(64);
        let names = [format!("{long} A"), format!("{} A", "abcdefg.".repeat(32)), "x".to_owned(), "x QQ".to_owned()];
        for text in names {
            let error = Questions::read(&format!("a A\n{text}\n"), None).unwrap_err();
            assert!(error.starts_with("line 2: "), "{error}");
        }
        assert!(Questions::read("\n", None).is_err());
    }

    #[test]
    fn generated_names_are_numbered() {
        let questions = Questions::generated("d{}.example", "A", 3, None).unwrap();
        assert_eq!(questions.len(), 3);
        assert!(questions.packet(2).windows(3).any(|part| part == b"\x02d2"));
        assert_eq!(Questions::generated("example", "A", 3, None).unwrap().len(), 1);
    }
}
