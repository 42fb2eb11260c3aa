//! The X-Spam header fields: what rspamd, SpamAssassin and every Sieve script in the field look for.

use crate::Findings;
use postring_mail::verdict::{Outcome, VerdictView};
use std::io::Write;

/// True for the name of a field that [`mark_fields`] writes.
#[must_use]
pub fn is_mark_field(name: &[u8]) -> bool {
    ["X-Spam-Flag", "X-Spam-Score", "X-Spam-Symbols", "X-Spam-Scan"].iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
}

/// Writes X-Spam-Flag, X-Spam-Score and X-Spam-Symbols, folded, CRLF ends; nothing from outside but printable ASCII. What was found of
/// the sender stands behind what the scanner found.
pub fn mark_fields(verdict: Option<&VerdictView<'_>>, findings: &Findings<'_>, junk: bool, out: &mut Vec<u8>) {
    let Some(verdict) = verdict.filter(|verdict| verdict.outcome != Outcome::Failed) else {
        out.extend_from_slice(b"X-Spam-Scan: failed\r\n");
        return;
    };
    if junk {
        out.extend_from_slice(b"X-Spam-Flag: YES\r\n");
    }
    // Writing to a Vec cannot fail.
    let _ = write!(out, "X-Spam-Score: {:.2}\r\nX-Spam-Symbols:", f64::from(verdict.score_milli) / 1000.0 + findings.score());
    let mut begun = false;
    for symbol in verdict.symbols().chain(findings.symbols()) {
        if begun {
            out.extend_from_slice(b",\r\n");
        }
        begun = true;
        out.push(b' ');
        out.extend(symbol.name.bytes().filter(u8::is_ascii_graphic));
        let _ = write!(out, "({:.2})", f64::from(symbol.weight_milli) / 1000.0);
    }
    out.extend_from_slice(if begun { b"\r\n" } else { b" none\r\n" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reputation;
    use crate::dnsbl::Listing;
    use postring_mail::verdict::{Symbol, VerdictWriter};

    #[test]
    fn fields_are_folded_and_clean() {
        let mut writer = VerdictWriter::default();
        writer.push(Symbol { name: "BAYES_SPAM", weight_milli: 5_100, detail: "" });
        writer.push(Symbol { name: "MIME\u{e9} X", weight_milli: 1_000, detail: "" });
        let bytes = writer.finish();
        let mut out = Vec::new();
        let mut reputation = Reputation::default();
        reputation.add(&"a.example".into(), Listing { code: [127, 0, 0, 2].into(), weight: 3.0, symbol: "DNSBL_A".into() });
        mark_fields(
            Some(&VerdictView::parse(bytes).unwrap()),
            &Findings { lists: &reputation, sender: &[], junk: false },
            true,
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "X-Spam-Flag: YES\r\nX-Spam-Score: 9.10\r\nX-Spam-Symbols: BAYES_SPAM(5.10),\r\n MIMEX(1.00),\r\n DNSBL_A(3.00)\r\n"
        );
    }

    #[test]
    fn no_verdict_is_said() {
        let mut out = Vec::new();
        mark_fields(None, &Findings { lists: &Reputation::default(), sender: &[], junk: false }, false, &mut out);
        assert_eq!(out, b"X-Spam-Scan: failed\r\n");
        assert!(is_mark_field(b"x-spam-scan") && !is_mark_field(b"X-Spam"));
    }
}
