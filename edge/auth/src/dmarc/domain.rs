//! Domains as DMARC compares them: in lower case, with A-labels, without the dot at the end.

use crate::dkim::domain_text;
use std::fmt;

/// A domain name whose labels are letters, digits, hyphens and underscores; at most 253 octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

impl Domain {
    /// Reads a domain as mail has it, with A-labels or U-labels; `None` for what is no name anybody could publish a record for, an address literal
    /// too.
    //= RFC 7489 section 6.6.1
    //# If the domain is encoded with UTF-8, the domain name must be converted to an A-label, as described in Section 2.3 of [IDNA], for
    //# further processing.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let ascii = if text.is_ascii() { text.to_ascii_lowercase() } else { idna::domain_to_ascii(text).ok()? };
        domain_text(ascii.as_bytes()).is_some().then_some(Self(ascii))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain above; a top-level domain has none.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.split_once('.').map(|(_, parent)| Self(parent.to_owned()))
    }

    /// How many labels it has.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.0.split('.').count()
    }

    /// True if it is the other domain or below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_suffix(&other.0).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    }

    /// Its last labels, all if it has no more.
    #[must_use]
    pub(super) fn last_labels(&self, count: usize) -> Self {
        let skipped = self.label_count().saturating_sub(count);
        (0..skipped).fold(self.clone(), |domain, _| domain.parent().unwrap_or(domain))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let text = |text: &str| Domain::new(text).map(|domain| domain.to_string());
        assert_eq!(text("Mail.EXAMPLE.org").as_deref(), Some("mail.example.org"));
        assert_eq!(text("bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(text("BÜCHER.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(text("xn--bcher-kva.Example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(text("食狮。公司。cn").as_deref(), Some("xn--85x722f.xn--55qx5d.cn"));
        for wrong in [
            "",
            ".",
            "a..b",
            ".a",
            "a.",
            "[192.0.2.1]",
            "a b",
            "a\0b",
            "=?utf-8?q?a?=",
            "a/b",
            "ü\u{200b}\u{e000}",
            &"a".repeat(64),
        ] {
            assert_eq!(text(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn places() {
        let domain = |text: &str| Domain::new(text).unwrap();
        let name = domain("a.b.example");
        assert!(name.is_within(&name) && name.is_within(&domain("b.example")) && name.is_within(&domain("example")));
        assert!(!domain("xb.example").is_within(&domain("b.example")) && !domain("example").is_within(&name));
        assert_eq!(name.last_labels(2), domain("b.example"));
        assert_eq!(name.last_labels(9), name);
        assert_eq!((name.label_count(), name.parent(), domain("example").parent()), (3, Some(domain("b.example")), None));
    }
}
