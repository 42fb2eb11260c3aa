//! The two strings every installation is tried with: EICAR for malware, GTUBE for spam. They work without any rule or token.

use crate::{Content, Engine};
use memchr::memmem::Finder;
use postring_mail::verdict::{Outcome, Symbol, VerdictWriter};

/// <https://spamassassin.apache.org/gtube/>; split so that this file itself is not spam.
const GTUBE: [&str; 2] = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"];
/// <https://www.eicar.org/download-anti-malware-testfile/>; split so that scanners leave this file alone.
const EICAR: [&str; 2] = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"];

/// Finds both.
#[derive(Debug)]
pub struct StandardTests {
    gtube: Finder<'static>,
    eicar: Finder<'static>,
}

impl Default for StandardTests {
    fn default() -> Self {
        Self { gtube: Finder::new(&GTUBE.concat()).into_owned(), eicar: Finder::new(&EICAR.concat()).into_owned() }
    }
}

impl Engine for StandardTests {
    fn name(&self) -> &'static str {
        "standard tests"
    }

    fn judge(&mut self, content: &Content<'_>, verdict: &mut VerdictWriter) {
        let decoded = || content.parts.iter().filter(|part| part.decoded).map(|part| part.bytes);
        let found =
            |finder: &Finder<'_>| finder.find(content.raw).is_some() || decoded().any(|bytes| finder.find(bytes).is_some());
        if found(&self.gtube) {
            verdict.push(Symbol { name: "GTUBE", weight_milli: 1_000_000, detail: "" });
        }
        if found(&self.eicar) {
            verdict.push(Symbol { name: "EICAR_TEST_FILE", weight_milli: 0, detail: "" });
            verdict.set_outcome(Outcome::Malware);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Limits, with_content};
    use postring_mail::verdict::VerdictView;

    fn judged(raw: &[u8]) -> (Outcome, i32) {
        let mut verdict = VerdictWriter::default();
        with_content(raw, &Limits::default(), &mut verdict, |content, verdict| StandardTests::default().judge(content, verdict));
        let view = VerdictView::parse(verdict.finish()).unwrap();
        (view.outcome, view.score_milli)
    }

    #[test]
    fn plain_and_encoded() {
        assert_eq!(judged(b"Subject: x\r\n\r\nhello\r\n"), (Outcome::Complete, 0));
        assert_eq!(judged(format!("Subject: x\r\n\r\n{}\r\n", GTUBE.concat()).as_bytes()), (Outcome::Complete, 1_000_000));
        let attached = "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy1URVNU\r\nLUZJTEUhJEgrSCo=\r\n";
        assert_eq!(judged(attached.as_bytes()), (Outcome::Malware, 0));
    }
}
