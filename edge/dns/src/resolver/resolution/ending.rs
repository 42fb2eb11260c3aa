//! How the question on top ends: in the target of an alias, an answer, or a failure.

use super::Resolution;
use super::question::{Purpose, Question};
use crate::dnssec::Security;
use crate::name::Name;
use crate::record::{Record, address};
use crate::resolver::Answer;
use crate::resolver::delegation::ADDRESSES_MAX;
use crate::resolver::infrastructure::Infrastructure;
use crate::resolver::reading::ALIASES_MAX;
use crate::types::{ExtendedError, Rcode, Rtype};
use smallvec::SmallVec;
use std::net::IpAddr;

/// Seconds the addresses of a name server are kept at most, and at least.
const HOST_TTL: (u32, u32) = (86_400, 30);
/// Seconds it is remembered that a name server has none, and that nobody could say.
const NO_HOST_TTL: (u32, u32) = (60, 15);
/// Records of one answer, over all its aliases; more than a full TCP message of addresses is nobody's.
pub(super) const RECORDS_MAX: usize = 4000;

impl Resolution {
    /// Goes on with the target of an alias.
    pub(super) fn follow(
        &mut self,
        infrastructure: &mut Infrastructure,
        records: Vec<Record>,
        authority: Vec<Record>,
        target: Name,
        now_ms: u64,
    ) {
        let Some(question) = self.questions.last_mut() else { return };
        let links = records.iter().filter(|record| record.rtype == Rtype::CNAME).count().max(1);
        question.aliases += links;
        question.ttl = records.iter().map(|record| record.ttl).fold(question.ttl, u32::min);
        question.records.extend(records);
        question.authority.extend(authority);
        // A name that was met before is a loop.
        let seen = |record: &Record| record.rtype == Rtype::CNAME && record.name == target;
        //= RFC 2181 section 10.3
        //# The domain name used as the value of a NS resource record, or part of the value of a MX resource record must not be an alias.
        if question.aliases > ALIASES_MAX
            || question.records.len() > RECORDS_MAX
            || question.records.iter().any(seen)
            || question.purpose != Purpose::Client
        {
            return self.fail(infrastructure, None, now_ms);
        }
        question.name = target;
        question.whole = false;
        question.minimised = 0;
        question.go_to(None);
    }

    /// The question on top has its answer.
    pub(super) fn finish(
        &mut self,
        infrastructure: &mut Infrastructure,
        rcode: Rcode,
        records: Vec<Record>,
        authority: Vec<Record>,
        ttl: u32,
        now_ms: u64,
    ) {
        let Some(mut question) = self.questions.pop() else { return };
        match question.purpose {
            Purpose::Client => {
                question.records.extend(records);
                question.authority.extend(authority);
                let (records, authority) = (question.records, question.authority);
                let ttl = ttl.min(question.ttl);
                self.done = Some(Answer { rcode, records, authority, ttl, security: Security::Unchecked, extended_error: None });
            }
            Purpose::Address => {
                let addresses = records.iter().filter(|record| record.rtype == question.rtype);
                let addresses: SmallVec<[IpAddr; 2]> =
                    addresses.filter_map(|record| address(&record.rdata)).take(ADDRESSES_MAX).collect();
                if addresses.is_empty() && question.rtype == Rtype::A && infrastructure.config.ipv6 && rcode == Rcode::NOERROR {
                    return self.questions.push(Question::new(question.origin, Rtype::AAAA, Purpose::Address));
                }
                let ttl = if addresses.is_empty() { NO_HOST_TTL.0 } else { ttl.clamp(HOST_TTL.1, HOST_TTL.0) };
                infrastructure.learn_host(&question.origin, addresses, ttl, now_ms);
            }
            Purpose::Priming => {}
        }
    }

    /// The question on top has none.
    pub(super) fn fail(&mut self, infrastructure: &mut Infrastructure, code: Option<ExtendedError>, now_ms: u64) {
        let Some(question) = self.questions.pop() else { return };
        match question.purpose {
            Purpose::Client => {
                self.questions.clear();
                self.done = Some(Answer { extended_error: code, ..Answer::failure(0) });
            }
            Purpose::Address => infrastructure.learn_host(&question.origin, SmallVec::new(), NO_HOST_TTL.1, now_ms),
            // The hints themselves are asked then.
            Purpose::Priming => {}
        }
    }
}
