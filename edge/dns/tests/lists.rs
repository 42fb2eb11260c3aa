//! rbldnsd's formats, form by form, with the answers rbldnsd itself gave: `tests/lists/*.txt`.
//!
//! ```text
//!   list KIND           begins a case; its file's lines behind "| ", those that must be refused behind "x "; "file" begins another file
//!   ? NAME TYPE         a question, the name relative to the zone
//!   = RCODE | TYPE TTL DATA | ...   what rbldnsd answers; lists/ask-rbldnsd.py writes it
//!   ! RCODE | ...       what we answer, where it is not the same
//! ```
//! We differ, on purpose, where a name that has something below it must not be denied (RFC 8020), in the test points (RFC 5782 section 5), and
//! in that a wrong line refuses the list. `REWRITE=1 cargo test -p postring-dns --test lists` writes the "!" lines anew; read the difference.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod cases;

use postring_dns::list::{BlockList, ListBuilder, ListKind};
use postring_dns::record::rdata_text;
use postring_dns::{Name, Rtype};
use std::fmt::Write;
use std::path::Path;

#[test]
fn as_rbldnsd_answers() {
    let mut questions = 0;
    cases::check("lists", 7, |text| {
        questions += text.lines().filter(|line| line.starts_with("? ")).count();
        run(text)
    });
    assert!(questions > 250);
}

#[derive(Default)]
struct Case {
    kind: String,
    files: Vec<Vec<(bool, String)>>,
    list: Option<BlockList>,
}

impl Case {
    /// Reads the list twice: without the wrong lines as it must be, and with them skipped; both must say the same.
    fn read(&mut self) {
        let kind = ListKind::parse(&self.kind).unwrap();
        let origin = Name::absolute("bl.example").unwrap();
        let mut clean = ListBuilder::new(&origin, kind);
        let mut skipping = ListBuilder::new(&origin, kind).skip_bad_lines();
        let mut expected = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            let name = format!("f{number}");
            let text =
                |bad: bool| file.iter().filter(|line| bad || !line.0).map(|line| line.1.clone() + "\n").collect::<String>();
            clean.read(Path::new(&name), &mut text(false).as_bytes()).unwrap();
            skipping.read(Path::new(&name), &mut text(true).as_bytes()).unwrap();
            expected.extend(file.iter().zip(1..).filter(|(line, _)| line.0).map(|(_, number)| format!("{name}:{number}: ")));
        }
        let (count, skipped) = skipping.skipped();
        let places: Vec<String> = skipped.iter().map(|line| line.split_inclusive(": ").next().unwrap().to_owned()).collect();
        assert_eq!((count, places), (expected.len(), expected), "{skipped:#?}");
        self.list = Some(clean.finish().unwrap());
        assert_eq!(skipping.finish().unwrap().size().entry_bytes, self.list.as_ref().unwrap().size().entry_bytes);
    }

    fn answer(&mut self, question: &str) -> String {
        if self.list.is_none() {
            self.read();
        }
        let (name, rtype) = question.split_once(' ').unwrap();
        let name = if name == "@" { "bl.example".to_owned() } else { format!("{name}.bl.example") };
        let (name, rtype) = (Name::absolute(&name).unwrap(), Rtype::parse(rtype).unwrap());
        let answer = self.list.as_ref().unwrap().answer(&name, rtype);
        let mut records: Vec<String> = Vec::new();
        for placed in &answer.answer {
            for rdata in &placed.set.rdata {
                records.push(format!("{} {} {}", placed.set.rtype, placed.set.ttl, rdata_text(placed.set.rtype, rdata)));
            }
        }
        records.sort();
        let records: String = records.iter().map(|record| format!(" | {record}")).collect();
        format!("{}{records}", answer.rcode)
    }
}

fn run(text: &str) -> String {
    let mut out = String::new();
    let mut case = Case::default();
    let mut ours = String::new();
    for line in text.lines() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("list", kind) => case = Case { kind: kind.to_owned(), files: vec![Vec::new()], list: None },
            ("file", _) => case.files.push(Vec::new()),
            (mark @ ("|" | "x"), content) => case.files.last_mut().unwrap().push((mark == "x", content.to_owned())),
            ("?", question) => ours = case.answer(question),
            ("!", _) => continue,
            _ => {}
        }
        let _ = writeln!(out, "{line}");
        if line.strip_prefix("= ").is_some_and(|theirs| theirs != ours) {
            let _ = writeln!(out, "! {ours}");
        }
    }
    out
}
