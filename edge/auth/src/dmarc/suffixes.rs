//! The public suffix list: below which names anybody may register a domain (RFC 7489 section 3.2; the rules of publicsuffix.org).

use super::Domain;
use std::collections::HashSet;
use std::fmt;
use std::sync::OnceLock;

/// The list in the program.
const BUILT_IN: &str = include_str!("../../data/public_suffix_list.dat");

/// Rules, in lower case and A-labels.
#[derive(Clone, Debug, Default)]
pub struct PublicSuffixes {
    plain: HashSet<Box<str>>,
    /// What stands behind the `*.`.
    wildcard: HashSet<Box<str>>,
    /// What stands behind the `!`.
    exception: HashSet<Box<str>>,
}

/// A file that is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuffixListError {
    /// The line with this number, from 1, is no rule.
    Rule(usize),
    /// There is no rule in it.
    Empty,
}

impl fmt::Display for SuffixListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(line) => write!(f, "line {line} is no rule of a public suffix list"),
            Self::Empty => f.write_str("there are no rules in it"),
        }
    }
}

impl std::error::Error for SuffixListError {}

impl PublicSuffixes {
    /// The list the program was built with, read once for a process: some 10,000 rules, about a megabyte.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static LIST: OnceLock<PublicSuffixes> = OnceLock::new();
        // A test reads it; what is empty knows top-level domains alone.
        LIST.get_or_init(|| Self::parse(BUILT_IN).unwrap_or_default())
    }

    /// Reads a list in the format of publicsuffix.org, all sections of it: a rule a line, up to the first white space; `//` begins a comment.
    ///
    /// # Errors
    /// [`SuffixListError`].
    pub fn parse(text: &str) -> Result<Self, SuffixListError> {
        let mut list = Self::default();
        for (number, line) in text.lines().enumerate() {
            let Some(rule) = line.split_whitespace().next().filter(|rule| !rule.starts_with("//")) else { continue };
            let (set, name) = if let Some(name) = rule.strip_prefix('!') {
                (&mut list.exception, name)
            } else if let Some(name) = rule.strip_prefix("*.") {
                (&mut list.wildcard, name)
            } else if rule == "*" {
                continue; // the rule for what no other is for, which is always there
            } else {
                (&mut list.plain, rule)
            };
            let name = Domain::new(name).ok_or(SuffixListError::Rule(number + 1))?;
            set.insert(name.as_str().into());
        }
        let rules = list.plain.len() + list.wildcard.len() + list.exception.len();
        if rules == 0 { Err(SuffixListError::Empty) } else { Ok(list) }
    }

    /// The domain that was registered: one label more than the public suffix; `None` for a public suffix.
    ///
    /// Cost: three look-ups a label.
    #[must_use]
    pub fn registered(&self, domain: &Domain) -> Option<Domain> {
        let names = || std::iter::successors(Some(domain.as_str()), |name| name.split_once('.').map(|(_, parent)| parent));
        // An exception rule's own name was registered, whatever else matches.
        if let Some(name) = names().find(|name| self.exception.contains(*name)) {
            return Domain::new(name);
        }
        let mut below = None;
        for name in names() {
            let parent = name.split_once('.').map(|(_, parent)| parent);
            // The longest comes first; a top-level domain is a suffix without a rule too.
            if parent.is_none_or(|parent| self.wildcard.contains(parent)) || self.plain.contains(name) {
                break;
            }
            below = Some(name);
        }
        below.and_then(Domain::new)
    }

    /// The Organizational Domain: the registered domain, or the name itself if it is a public suffix.
    #[must_use]
    pub fn organization(&self, domain: &Domain) -> Domain {
        self.registered(domain).unwrap_or_else(|| domain.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_in_the_program() {
        let list = PublicSuffixes::parse(BUILT_IN).unwrap();
        assert!(list.plain.len() > 9_000 && list.wildcard.len() > 100 && !list.exception.is_empty());
    }

    #[test]
    fn lists() {
        let list =
            PublicSuffixes::parse("// x\n\nexample  a comment\n*.example\n!www.example\n*.b.example\n公司.cn\n*\n").unwrap();
        for (domain, registered) in [
            ("example", None),
            ("b.example", None),
            ("c.b.example", None),
            ("d.c.b.example", Some("d.c.b.example")),
            ("e.x.example", Some("e.x.example")),
            ("f.e.x.example", Some("e.x.example")),
            ("www.example", Some("www.example")),
            ("x.www.example", Some("www.example")),
            ("x.y.unlisted", Some("y.unlisted")),
            ("x.xn--55qx5d.cn", Some("x.xn--55qx5d.cn")),
        ] {
            let found = list.registered(&Domain::new(domain).unwrap());
            assert_eq!(found, registered.and_then(Domain::new), "{domain}");
        }
        assert_eq!(PublicSuffixes::parse("// x\n").unwrap_err(), SuffixListError::Empty);
        assert_eq!(PublicSuffixes::parse("com\na.*.b\n").unwrap_err(), SuffixListError::Rule(2));
        assert_eq!(PublicSuffixes::parse("<html>\n").unwrap_err(), SuffixListError::Rule(1));
    }
}
