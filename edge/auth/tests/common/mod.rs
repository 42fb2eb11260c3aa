//! The DNS of scenarios: records of text at names.

use postring_auth::Lookup;
use postring_dns::record::Record;
use postring_dns::resolver::{Answer, Resolved};
use postring_dns::{Name, Rcode, Rtype};
use std::cell::Cell;
use std::collections::BTreeMap;

/// Answers questions, and counts them.
#[derive(Clone, Default)]
pub struct World {
    /// By name; none: nobody answers.
    pub texts: BTreeMap<String, Option<Vec<String>>>,
    pub questions: Cell<usize>,
}

impl Lookup for World {
    async fn lookup(&self, name: &Name, rtype: Rtype) -> Resolved {
        assert_eq!(rtype, Rtype::TXT);
        self.questions.set(self.questions.get() + 1);
        // Not at once, so that the others are asked before.
        futures_lite::future::yield_now().await;
        match self.texts.get(&name.to_string()) {
            None => Resolved::new(name, rtype, &Answer { rcode: Rcode::NXDOMAIN, ..Answer::failure(60) }),
            Some(None) => Resolved::failure(name, rtype),
            Some(Some(texts)) => {
                let record = |text: &String| Record { name: name.clone(), rtype, ttl: 60, rdata: rdata(text) };
                let records = texts.iter().map(record).collect();
                Resolved::new(name, rtype, &Answer { rcode: Rcode::NOERROR, records, ..Answer::failure(60) })
            }
        }
    }
}

/// Strings of at most 255 octets.
fn rdata(text: &str) -> Box<[u8]> {
    let string = |string: &[u8]| [&[u8::try_from(string.len()).unwrap()], string].concat();
    text.as_bytes().chunks(255).flat_map(string).collect()
}

/// `\\r`, `\\n`, `\\t`, `\\s` are a CR, an LF, a tab and a space.
pub fn unescaped(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t").replace("\\s", " ")
}

impl World {
    /// Reads lines `NAME = TEXT`.
    pub fn read(text: &str) -> Self {
        let mut world = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            world.obey("only", line);
        }
        world
    }

    /// `txt NAME = TEXT`: a record more; `only NAME = TEXT`: in place of all others of the name; `fail NAME`: nobody answers.
    pub fn obey(&mut self, word: &str, rest: &str) {
        if word == "fail" {
            self.texts.insert(format!("{rest}."), None);
            return;
        }
        let (name, text) = rest.split_once(" =").unwrap();
        let texts = self.texts.entry(format!("{name}.")).or_default();
        let before = texts.take().filter(|_| word == "txt").unwrap_or_default();
        *texts = Some([before, vec![text.trim_start().to_owned()]].concat());
    }
}
