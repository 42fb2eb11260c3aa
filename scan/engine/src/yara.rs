//! YARA-X rules from a folder.
//!
//! A rule's metadata says what a match means: `score` (points, integer or float; default 0) and `malware = true` (the message is
//! refused whatever the score). The whole message is scanned, and each part that was decoded from something else.

use crate::{Content, Engine};
use postring_mail::verdict::{Outcome, Symbol, VerdictWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use yara_x::{Compiler, MetaValue, Rules, Scanner, SourceCode};

/// A rule file larger than this is a mistake.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The rule files of a folder, sorted by name: `*.yar`, `*.yara`.
///
/// # Errors
/// One line: the folder, and what to do.
pub fn rule_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("the rules folder {} does not exist; make it (it may be empty) or set scan.yara = false", folder.display())
        }
        _ => format!("the rules folder {}: {error}", folder.display()),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|extension| extension == "yar" || extension == "yara") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What a folder looked like, to see whether it has changed: names, sizes and times of its rule files.
#[must_use]
pub fn fingerprint(folder: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let files = rule_files(folder).unwrap_or_default();
    let look = |path: PathBuf| {
        let metadata = path.metadata().ok();
        let size = metadata.as_ref().map_or(0, std::fs::Metadata::len);
        (path, size, metadata.and_then(|metadata| metadata.modified().ok()))
    };
    files.into_iter().map(look).collect()
}

/// Compiles all rules of a folder. Takes time; never on the way of a mail.
///
/// # Errors
/// The first broken rule, with file and line, or what is wrong with the folder.
pub fn compile(folder: &Path) -> Result<Rules, String> {
    let mut compiler = Compiler::new();
    for path in rule_files(folder)? {
        let wrong = |error: std::io::Error| format!("the rule file {}: {error}", path.display());
        if path.metadata().map_err(wrong)?.len() > FILE_BYTES_MAX {
            return Err(format!("the rule file {} is larger than 64 MiB; split it", path.display()));
        }
        let text = std::fs::read_to_string(&path).map_err(wrong)?;
        let name = path.display().to_string();
        let source = SourceCode::from(text.as_str()).with_origin(&name);
        if let Err(error) = compiler.add_source(source) {
            return Err(format!("a rule in {name} is broken: {}", one_line(&error.to_string())));
        }
    }
    Ok(compiler.build())
}

/// The compiler draws its errors over many lines; the log and `postring check` give one.
fn one_line(error: &str) -> String {
    let mut lines = error.lines().map(str::trim).filter(|line| !line.is_empty());
    let title = lines.next().unwrap_or_default();
    let place = lines.next().and_then(|line| line.strip_prefix("-->")).unwrap_or_default();
    let place = place.trim().rsplit_once(".yar").map_or("", |(_, place)| place.trim_start_matches(['a', ':']));
    if place.is_empty() { title.to_owned() } else { format!("{title} at line:column {place}") }
}

/// The engine over compiled rules; one for each worker thread.
pub struct Yara<'r> {
    scanner: Scanner<'r>,
}

impl<'r> Yara<'r> {
    /// Makes a scanner (some hundred microseconds), used for every message after.
    #[must_use]
    pub fn new(rules: &'r Rules, timeout: Duration) -> Self {
        let mut scanner = Scanner::new(rules);
        scanner.set_timeout(timeout);
        Self { scanner }
    }

    /// False if the scan did not come to its end.
    fn scan(&mut self, bytes: &[u8], verdict: &mut VerdictWriter) -> bool {
        let Ok(results) = self.scanner.scan(bytes) else { return false };
        for rule in results.matching_rules() {
            let mut weight_milli = 0;
            for (name, value) in rule.metadata() {
                match (name, value) {
                    ("score", MetaValue::Integer(points)) => weight_milli = milli(points),
                    #[allow(clippy::cast_possible_truncation)] // a float cast saturates
                    ("score", MetaValue::Float(points)) => weight_milli = (points * 1000.0) as i32,
                    ("malware", MetaValue::Bool(true)) => verdict.set_outcome(Outcome::Malware),
                    _ => {}
                }
            }
            verdict.push(Symbol { name: rule.identifier(), weight_milli, detail: "YARA" });
        }
        true
    }
}

fn milli(points: i64) -> i32 {
    i32::try_from(points.saturating_mul(1000)).unwrap_or(if points < 0 { i32::MIN } else { i32::MAX })
}

impl Engine for Yara<'_> {
    fn name(&self) -> &'static str {
        "yara"
    }

    fn judge(&mut self, content: &Content<'_>, verdict: &mut VerdictWriter) {
        let mut whole = self.scan(content.raw, verdict);
        for part in content.parts.iter().filter(|part| part.decoded) {
            whole &= self.scan(part.bytes, verdict);
        }
        if !whole {
            verdict.push(Symbol { name: "YARA_TIMEOUT", weight_milli: 0, detail: "not all rules were tried" });
            verdict.set_outcome(Outcome::Partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Limits, with_content};
    use postring_mail::verdict::VerdictView;

    #[test]
    fn rules_match_raw_and_decoded_and_broken_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(compile(&folder.path().join("none")).unwrap_err().contains("does not exist"));
        std::fs::write(folder.path().join("a.yar"), "rule Pills { meta: score = 3 strings: $a = \"cheap pills\" condition: $a }")
            .unwrap();
        std::fs::write(
            folder.path().join("b.yara"),
            "rule Bad { meta: malware = true strings: $a = \"evil code\" condition: $a }",
        )
        .unwrap();
        let rules = compile(folder.path()).unwrap();
        let mut yara = Yara::new(&rules, Duration::from_secs(5));
        let mut verdict = VerdictWriter::default();
        // "evil code" in base64.
        let raw = b"Subject: cheap pills\r\nContent-Transfer-Encoding: base64\r\n\r\nZXZpbCBjb2Rl\r\n";
        with_content(raw, &Limits::default(), &mut verdict, |content, verdict| yara.judge(content, verdict));
        let view = VerdictView::parse(verdict.finish()).unwrap();
        assert_eq!((view.outcome, view.score_milli), (Outcome::Malware, 3000));

        let before = fingerprint(folder.path());
        std::fs::write(folder.path().join("c.yar"), "rule Broken {\n condition: $nothing\n}").unwrap();
        assert_ne!(fingerprint(folder.path()), before);
        let error = compile(folder.path()).map(|_| ()).unwrap_err();
        assert!(error.contains("c.yar") && error.contains("2:13") && !error.contains('\n'), "{error}");
    }
}
