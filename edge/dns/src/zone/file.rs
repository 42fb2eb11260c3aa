//! Reads a zone from a master file (RFC 1035 section 5, `$TTL` of RFC 2308 section 4, `$GENERATE` of BIND).

use super::generate::{self, GENERATED_MAX, Series};
use super::text::{Entry, Word, next_entry, seconds};
use super::{Zone, ZoneBuilder};
use crate::name::{Name, is_within};
use crate::rdata;
use crate::types::Rtype;
use std::path::{Path, PathBuf};

/// Files within files.
const INCLUDE_DEPTH_MAX: usize = 8;
/// Files of one zone: one that names itself twice would be read 2^8 times, one that does so a hundred times for ever.
const FILES_MAX: usize = 1000;

/// Where a file is wrong, and how: one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFileError {
    /// `file:line`, or the file alone.
    pub place: String,
    /// What is wrong.
    pub text: String,
}

impl std::fmt::Display for ZoneFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl std::error::Error for ZoneFileError {}

/// What the entries so far have set.
struct State {
    origin: Name,
    owner: Option<Name>,
    /// `$TTL`.
    ttl_default: Option<u32>,
    /// The TTL last written in a record (RFC 1035 section 5.1: omitted values are the last stated).
    ttl_last: Option<u32>,
}

struct Parser<'r> {
    read: &'r mut dyn FnMut(&Path) -> std::io::Result<String>,
    zone: ZoneBuilder,
    files: usize,
    generated: u64,
}

/// Reads the zone `origin` from the file at `path`. Files are read by `read`; `$INCLUDE` is relative to the including file.
///
/// # Errors
/// The first thing that is wrong, with its file and line.
pub fn parse_zone(
    origin: &Name,
    path: &Path,
    read: &mut dyn FnMut(&Path) -> std::io::Result<String>,
) -> Result<Zone, ZoneFileError> {
    let mut parser = Parser { read, zone: ZoneBuilder::new(origin), files: 0, generated: 0 };
    let mut state = State { origin: origin.clone(), owner: None, ttl_default: None, ttl_last: None };
    parser.file(path, &mut state, 0)?;
    parser.zone.finish().map_err(|text| ZoneFileError { place: path.display().to_string(), text })
}

impl Parser<'_> {
    fn file(&mut self, path: &Path, state: &mut State, depth: usize) -> Result<(), ZoneFileError> {
        let text = (self.read)(path)
            .map_err(|error| ZoneFileError { place: path.display().to_string(), text: format!("cannot be read: {error}") })?;
        let (mut rest, mut line) = (text.as_str(), 1);
        let wrong = |(line, text): (usize, String)| ZoneFileError { place: format!("{}:{line}", path.display()), text };
        while let Some(entry) = next_entry(&mut rest, &mut line).map_err(wrong)? {
            let first = entry.words.first().map_or("", |word| word.text);
            match first.strip_prefix('$').filter(|_| !entry.same_owner) {
                Some("INCLUDE") => {
                    let (file, origin) = include(&entry, state, path).map_err(|text| wrong((entry.line, text)))?;
                    if depth >= INCLUDE_DEPTH_MAX {
                        return Err(wrong((entry.line, format!("$INCLUDE deeper than {INCLUDE_DEPTH_MAX} files"))));
                    }
                    self.files += 1;
                    if self.files > FILES_MAX {
                        return Err(wrong((entry.line, format!("$INCLUDE of more than {FILES_MAX} files"))));
                    }
                    //= RFC 1035 section 5.1
                    //# $INCLUDE directives cause no change in the origin of the parent file
                    let before = (std::mem::replace(&mut state.origin, origin), state.owner.clone());
                    self.file(&file, state, depth + 1)?;
                    (state.origin, state.owner) = before;
                }
                Some("GENERATE") => self.generate(&entry, state).map_err(|text| wrong((entry.line, text)))?,
                Some(directive) => set(directive, &entry, state).map_err(|text| wrong((entry.line, text)))?,
                None => self.record(&entry, state).map_err(|text| wrong((entry.line, text)))?,
            }
        }
        Ok(())
    }

    fn generate(&mut self, entry: &Entry<'_>, state: &mut State) -> Result<(), String> {
        let series = Series::parse(argument(entry, "range")?)?;
        self.generated += series.count();
        if self.generated > GENERATED_MAX {
            return Err(format!("$GENERATE makes more than {GENERATED_MAX} records of this zone"));
        }
        let template = entry.words.get(2..).filter(|words| words.len() >= 3);
        let template = template.ok_or("$GENERATE wants a range, an owner, a type and data")?;
        for number in series.numbers() {
            let line = generate::line(template, number)?;
            let parsed = next_entry(&mut line.as_str(), &mut 1).map_err(|(_, text)| text)?;
            let generated = parsed.ok_or("$GENERATE makes an empty line")?;
            self.record(&generated, state).map_err(|text| format!("number {number}: {text}"))?;
        }
        Ok(())
    }

    fn record(&mut self, entry: &Entry<'_>, state: &mut State) -> Result<(), String> {
        let mut words = entry.words.as_slice();
        if !entry.same_owner
            && let Some((first, rest)) = words.split_first()
        {
            let owner = Name::parse(first.text, Some(&state.origin)).map_err(|error| format!("\"{}\": {error}", first.text))?;
            state.owner = Some(owner);
            words = rest;
        }
        let owner = state.owner.clone().ok_or("a record without an owner: the first line must not begin with a blank")?;
        let mut ttl = None;
        let rtype = loop {
            let (word, rest) = words.split_first().ok_or("the record has no type")?;
            words = rest;
            if let Some(value) = seconds(word.text).filter(|_| ttl.is_none()) {
                ttl = Some(value);
            } else if word.text.eq_ignore_ascii_case("IN") {
                // The class; there is no other.
            } else if ["CH", "HS", "CS"].iter().any(|class| word.text.eq_ignore_ascii_case(class)) {
                return Err(format!("class {}: only IN is served", word.text));
            } else {
                break Rtype::parse(word.text).ok_or_else(|| format!("\"{}\" is no record type", word.text))?;
            }
        };
        if rtype.is_question_only() {
            return Err(format!("{rtype} can be asked for, not stored"));
        }
        let data = rdata::parse(rtype, words, &state.origin)?;
        let ttl = match ttl {
            Some(ttl) => {
                state.ttl_last = Some(ttl);
                ttl
            }
            // The SOA's own minimum as its TTL, as BIND does for files from before $TTL.
            None => state
                .ttl_default
                .or(state.ttl_last)
                .or_else(|| (rtype == Rtype::SOA).then(|| crate::record::negative_ttl(u32::MAX, &data)))
                .ok_or("the record has no TTL, and there is no $TTL above it; begin the file with $TTL 3600")?,
        };
        if state.ttl_last.is_none() {
            state.ttl_last = Some(ttl);
        }
        self.zone.add(&owner, rtype, ttl, data)
    }
}

fn argument<'t>(entry: &Entry<'t>, what: &str) -> Result<&'t str, String> {
    entry.words.get(1).map(|word| word.text).ok_or_else(|| format!("the directive lacks its {what}"))
}

fn set(directive: &str, entry: &Entry<'_>, state: &mut State) -> Result<(), String> {
    match directive {
        "ORIGIN" => {
            let text = argument(entry, "name")?;
            state.origin = Name::parse(text, Some(&state.origin)).map_err(|error| format!("\"{text}\": {error}"))?;
        }
        "TTL" => {
            let text = argument(entry, "time")?;
            state.ttl_default = Some(seconds(text).ok_or_else(|| format!("\"{text}\" is no time (seconds, or like 1h30m)"))?);
        }
        _ => return Err(format!("${directive} is not known; $ORIGIN, $TTL, $INCLUDE and $GENERATE are")),
    }
    match entry.words.get(2) {
        Some(Word { text, .. }) => Err(format!("\"{text}\" is too much behind ${directive}")),
        None => Ok(()),
    }
}

fn include(entry: &Entry<'_>, state: &State, path: &Path) -> Result<(PathBuf, Name), String> {
    let file = path.parent().unwrap_or(Path::new("")).join(argument(entry, "file")?);
    let origin = match entry.words.get(2) {
        Some(word) => Name::parse(word.text, Some(&state.origin)).map_err(|error| format!("\"{}\": {error}", word.text))?,
        None => state.origin.clone(),
    };
    Ok((file, origin))
}

impl ZoneBuilder {
    /// True for names of this zone.
    pub(super) fn contains(&self, key: &Name) -> bool {
        is_within(key.wire(), self.origin().wire())
    }
}

/// For the fuzzer and the replay of its inputs: reads anything for a zone (what it includes is the same text again) and answers from it,
/// must not panic.
#[doc(hidden)]
pub fn fuzz_zone_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(origin) = Name::absolute("example.org") else { return };
    match parse_zone(&origin, Path::new("zone"), &mut |_| Ok(text.to_owned())) {
        Err(error) => assert!(!error.text.is_empty()),
        Ok(zone) => crate::test_support::ask_all(&origin, crate::hosted::Service::Zone(zone)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(files: &[(&str, &str)]) -> Result<Zone, String> {
        let mut read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned()).ok_or(std::io::ErrorKind::NotFound.into())
        };
        parse_zone(&Name::absolute("ex.org").unwrap(), Path::new("d/z"), &mut read).map_err(|error| error.to_string())
    }

    /// Line 1 to 3 of every zone below.
    const HEAD: &str = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\n";

    #[test]
    fn includes_keep_the_origin_and_the_owner() {
        let main =
            format!("{HEAD}$ORIGIN sub.ex.org.\na A 192.0.2.1\n$INCLUDE more other.ex.org.\n  TXT still-a\nb A 192.0.2.2\n");
        let zone = parse(&[("d/z", &main), ("d/more", "x TXT here\n")]).unwrap();
        assert_eq!(zone.record_count(), 6);
        let found = |name: &str, rtype| zone.answer(&Name::absolute(name).unwrap(), rtype).answer.len();
        assert_eq!(
            [found("x.other.ex.org", Rtype::TXT), found("a.sub.ex.org", Rtype::TXT), found("b.sub.ex.org", Rtype::A)],
            [1; 3]
        );
    }

    #[test]
    fn series_of_records() {
        let zone = parse(&[(
            "d/z",
            &format!("{HEAD}$GENERATE 1-254/2 host-${{0,3}} 30 IN A 192.0.2.$\n$GENERATE 1-2 $ CNAME host-00$\n"),
        )])
        .unwrap();
        assert_eq!(zone.record_count(), 2 + 127 + 2);
        let found = zone.answer(&Name::absolute("host-253.ex.org").unwrap(), Rtype::A);
        assert_eq!(found.answer.first().map(|placed| placed.set.ttl), Some(30));
    }

    #[test]
    fn errors_are_one_line_with_file_and_line() {
        for (body, expected) in [
            ("a A 192.0.2.256\n", "d/z:4: \"192.0.2.256\" is no IPv4 address of a A record"),
            ("a A\n", "d/z:4: the A record lacks its IPv4 address"),
            ("a A 192.0.2.1 x\n", "d/z:4: \"x\" is too much in a A record"),
            ("\na FOO x\n", "d/z:5: \"FOO\" is no record type"),
            ("a.other. A 192.0.2.1\n", "d/z:4: a.other. is not within the zone ex.org."),
            ("a SOA ns h 1 2 3 4 5\n", "d/z:4: the SOA belongs to the apex"),
            ("@ SOA ns h 1 2 3 4 6\n", "d/z:4: ex.org. has a second SOA"),
            ("a CNAME b\na A 192.0.2.1\n", "d/z:5: a.ex.org. has a CNAME and other records"),
            ("a CNAME b\na CNAME c\n", "d/z:5: a.ex.org. has a second CNAME"),
            ("a TXT ( \"x\"\n", "d/z:4: a parenthesis that is never closed"),
            ("a TXT \"x\n", "d/z:4: a string in quotes"),
            ("a..b A 192.0.2.1\n", "d/z:4: \"a..b\": the name has an empty label"),
            ("a CH TXT x\n", "d/z:4: class CH: only IN is served"),
            ("a TYPE99 \\# 3 0102\n", "d/z:4: \\# says 3 octets, and 2 follow"),
            ("a TYPE1 \\# 3 010203\n", "d/z:4: the data is not that of a A record"),
            ("a LOC 1 2 3\n", "d/z:4: \"LOC\" is no record type"),
            ("a TYPE29 1 2 3\n", "d/z:4: the data of type TYPE29 has no text form here; write it as"),
            ("$GENERATE 1-300 a$ A 192.0.2.$\n", "d/z:4: number 256: \"192.0.2.256\" is no IPv4 address of a A record"),
            ("$GENERATE 0-1048576 a$ A 192.0.2.1\n", "d/z:4: $GENERATE makes more than 1048576 records"),
            ("$GENERATE 1-2 a$\n", "d/z:4: $GENERATE wants a range, an owner, a type and data"),
            ("$INCLUDE nothing\n", "d/nothing: cannot be read"),
            ("$INCLUDE loop\n", "d/loop:1: $INCLUDE deeper than 8 files"),
            ("$INCLUDE wide1\n", "d/wide7:7: $INCLUDE of more than 1000 files"),
            ("$FOO\n", "d/z:4: $FOO is not known"),
            ("ns CNAME a\n", "d/z: the name server ns.ex.org. is an alias"),
        ] {
            let wide: Vec<(String, String)> =
                (1..8).map(|level| (format!("d/wide{level}"), format!("$INCLUDE wide{}\n", level + 1).repeat(10))).collect();
            let main = format!("{HEAD}{body}");
            let mut files = vec![("d/z", main.as_str()), ("d/loop", "$INCLUDE loop\n"), ("d/wide8", "")];
            files.extend(wide.iter().map(|(name, text)| (name.as_str(), text.as_str())));
            let error = parse(&files).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{error}");
        }
        for (whole, expected) in [
            ("", "d/z: no record of the apex ex.org."),
            ("$TTL 60\n@ NS ns\n", "d/z: the apex ex.org. has no SOA"),
            ("$TTL 60\n@ SOA ns h 1 2 3 4 5\n", "d/z: the apex ex.org. has no NS"),
            ("  A 192.0.2.1\n", "d/z:1: a record without an owner"),
            ("@ A 192.0.2.1\n", "d/z:1: the record has no TTL"),
        ] {
            let error = parse(&[("d/z", whole)]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_harmless(text in "[a-z@$.;()\"\\\\ 0-9\n]{0,80}") { fuzz_zone_file(text.as_bytes()); }
    }
}
