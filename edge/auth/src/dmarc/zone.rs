//! What the DNS has at `_dmarc` of a domain; each name is asked for once.

use super::{Domain, Record};
use crate::Lookup;
use postring_dns::{Name, Rcode, Rtype, record};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The records of a domain that are DMARC's.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Nothing,
    One(Rc<Record>),
    /// So many: none of them counts.
    Several(usize),
}

/// The DNS could not say of this domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unanswered(pub Domain);

/// Asks, and remembers for the time of one check.
pub(super) struct Zone<'a, L> {
    lookup: &'a L,
    known: RefCell<Vec<(Domain, Result<Found, Unanswered>)>>,
    pub questions: Cell<usize>,
}

impl<'a, L: Lookup> Zone<'a, L> {
    pub fn new(lookup: &'a L) -> Self {
        Self { lookup, known: RefCell::default(), questions: Cell::new(0) }
    }

    /// The records of a domain.
    pub async fn records(&self, domain: &Domain) -> Result<Found, Unanswered> {
        let known = self.known.borrow().iter().find(|(name, _)| name == domain).map(|(_, found)| found.clone());
        if let Some(found) = known {
            return found;
        }
        let found = self.ask(domain).await;
        self.known.borrow_mut().push((domain.clone(), found.clone()));
        found
    }

    async fn ask(&self, domain: &Domain) -> Result<Found, Unanswered> {
        // A domain so long that nothing can be below it has no record.
        let Ok(name) = Name::absolute(&format!("_dmarc.{domain}")) else { return Ok(Found::Nothing) };
        self.questions.set(self.questions.get() + 1);
        let resolved = self.lookup.lookup(&name, Rtype::TXT).await;
        if resolved.is_failure() {
            return Err(Unanswered(domain.clone()));
        }
        //= RFC 7489 section 6.6.3
        //# Records that do not start with a "v=" tag that identifies the current version of DMARC are discarded.
        let mut records = resolved.rdata(Rtype::TXT).filter_map(|rdata| Record::parse(&record::text(rdata)));
        let Some(first) = records.next() else { return Ok(Found::Nothing) };
        let more = records.count();
        Ok(if more > 0 { Found::Several(more + 1) } else { Found::One(Rc::new(first)) })
    }

    /// True if the domain exists, whatever it has.
    //= RFC 9989 section 3.2
    //# if the response code received for a query for a domain name is NXDOMAIN, then the domain name and any possible subdomains do not
    //# exist.
    pub async fn exists(&self, domain: &Domain) -> Result<bool, Unanswered> {
        let Ok(name) = Name::absolute(domain.as_str()) else { return Ok(false) };
        self.questions.set(self.questions.get() + 1);
        let resolved = self.lookup.lookup(&name, Rtype::A).await;
        if resolved.is_failure() { Err(Unanswered(domain.clone())) } else { Ok(resolved.rcode() != Rcode::NXDOMAIN) }
    }
}
