//! From a query's packet to its response's: who may ask what, and how it fits.
//!
//! ```text
//!   packet ─> header ─┬─ response ──────────────────────────────────────────────> Drop
//!                     ├─ NOTIFY, UPDATE of a zone of ours ──────────────────────> Notify, Update
//!                     └─ query ─┬─ broken, unknown version, class, type ────────> Ready: an error
//!                               ├─ signed (TSIG) ───────────────────────────────> Signed: checked, taken off, and answered again
//!                               ├─ AXFR, IXFR over TCP ─────────────────────────> Transfer
//!                               ├─ ALIAS whose target is not known ─────────────> Flatten
//!                               ├─ hosted ──────────────────────────────────────> Ready
//!                               └─ not hosted ── the client may use the resolver? Resolve : Ready, REFUSED
//! ```
//! Cost of a hit: the query's name read once, its key made once, two table look-ups, the records copied. No allocation; hooks apart.

pub use crate::context::{Admission, Client, Context, CookieVerdict, Hooks, Said, Transport};

use crate::dnssec::Security;
use crate::hosted::Hosted;
use crate::message::{PAYLOAD_BYTES, ResponseFlags, ResponseOptions, ResponseWriter, Section};
use crate::name::Name;
use crate::query::{
    OPCODE_NOTIFY, OPCODE_UPDATE, OPTION_COOKIE, OPTION_NSID, OPTION_TCP_KEEPALIVE, QueryError, QueryView, question_name,
    write_refusal,
};
use crate::resolver::Resolved;
use crate::types::{ExtendedError, Rcode, Rtype};
use crate::writer::{Encoded, Full};
use crate::zone::{Extra, NameBuffer, Sink};
use smallvec::SmallVec;

/// The cookie is not ours (RFC 7873 section 8).
const BADCOOKIE: Rcode = Rcode(23);
/// Not our zone (RFC 2136 section 2.2, RFC 5936 section 2.2.1).
const NOTAUTH: Rcode = Rcode(9);

/// A transfer of a whole zone (RFC 5936), or of what has changed (RFC 1995).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferKind {
    /// All.
    Axfr,
    /// What is new since the serial in the authority section.
    Ixfr,
}

/// What is to be done with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The response is written.
    Ready,
    /// Nothing is said.
    Drop,
    /// The resolver must look for it; then [`respond_resolved`].
    Resolve(Name, Rtype),
    /// The addresses of an ALIAS' target are needed; then the packet is answered again, with hooks that know them.
    Flatten(Name, Rtype),
    /// A NOTIFY for a zone that is hosted.
    Notify {
        /// The zone.
        zone: Name,
    },
    /// An UPDATE of a zone that is hosted.
    Update {
        /// The zone.
        zone: Name,
    },
    /// A transfer of a zone that is hosted, over TCP; whether the client may is for the caller to say.
    Transfer {
        /// The zone.
        zone: Name,
        /// Which.
        kind: TransferKind,
    },
    /// The query is signed (TSIG): the caller checks it, takes the record off, answers what remains, and signs the response.
    Signed,
}

fn limit(query: &QueryView<'_>, transport: Transport) -> usize {
    match (transport, query.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => 512,
        //= RFC 6891 section 6.2.5
        //# The responder's maximum payload size can change over time
        (Transport::Udp, Some(edns)) => usize::from(edns.payload_bytes.min(PAYLOAD_BYTES)),
    }
}

/// A response being written for one client.
struct Wire<'w, 'o, 'q, 'h> {
    writer: &'w mut ResponseWriter<'o, 'q>,
    hooks: Option<&'h dyn Hooks>,
    dnssec_ok: bool,
    extra: Extra,
}

impl Sink for Wire<'_, '_, '_, '_> {
    fn dnssec_ok(&self) -> bool {
        self.dnssec_ok
    }

    fn extra(&self) -> Extra {
        self.extra
    }

    fn addresses_of(&self, target: &Name, rtype: Rtype) -> Option<Resolved> {
        self.hooks?.addresses_of(target, rtype)
    }

    fn set(&mut self, section: Section, owner: &[u8], set: Encoded<'_>, ttl: Option<u32>) -> Result<(), Full> {
        self.writer.set(section, owner, set, ttl)
    }

    fn record(&mut self, section: Section, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]) -> Result<(), Full> {
        self.writer.record(section, owner, rtype, ttl, rdata)
    }
}

/// What the query's EDNS options ask for.
struct Asked<'c> {
    options: ResponseOptions<'c>,
    /// The client's address is proven by its cookie.
    proven: bool,
    error: Option<Rcode>,
}

fn read_options<'c>(context: &Context<'c>, query: &QueryView<'_>, client: Client) -> Asked<'c> {
    let mut asked = Asked { options: ResponseOptions::default(), proven: client.transport == Transport::Tcp, error: None };
    let Some(edns) = query.edns.filter(|edns| !edns.options.is_empty()) else { return asked };
    let mut cookies = 0;
    for option in edns.options() {
        match option {
            Err(()) => asked.error = Some(Rcode::FORMERR),
            Ok((OPTION_NSID, _)) if !context.identity.is_empty() => asked.options.identity = Some(context.identity),
            //= RFC 7828 section 3.2.1
            //# Clients MUST specify an OPTION-LENGTH of 0 and omit the TIMEOUT value.
            Ok((OPTION_TCP_KEEPALIVE, data)) if client.transport == Transport::Tcp => {
                if !data.is_empty() {
                    asked.error = Some(Rcode::FORMERR);
                }
                asked.options.keepalive = context.keepalive;
            }
            //= RFC 7873 section 5.2
            //# In all cases of multiple COOKIE options in a request, only the first (the one closest to the DNS header) is considered.
            Ok((OPTION_COOKIE, data)) if cookies == 0 => {
                cookies += 1;
                match context.hooks.map(|hooks| hooks.cookie(client, data)) {
                    None => {}
                    Some(CookieVerdict::Malformed) => asked.error = Some(Rcode::FORMERR),
                    Some(CookieVerdict::Valid(cookie)) => (asked.options.cookie, asked.proven) = (cookie, true),
                    Some(CookieVerdict::Unproven(cookie)) => asked.options.cookie = cookie,
                    Some(CookieVerdict::Demanded(cookie)) => {
                        asked.options.cookie = cookie;
                        if client.transport == Transport::Udp {
                            asked.error = Some(BADCOOKIE);
                        }
                    }
                }
            }
            Ok(_) => {}
        }
    }
    asked
}

/// Answers a packet from what is hosted, or says what else must be done. `recursion`: this client may use the resolver.
pub fn respond(
    context: &Context<'_>,
    hosted: &Hosted,
    packet: &[u8],
    client: Client,
    recursion: bool,
    out: &mut Vec<u8>,
) -> Response {
    let query = match QueryView::parse(packet) {
        Ok(query) => query,
        Err(QueryError::Drop) => return Response::Drop,
        Err(QueryError::Refuse { id, flags, rcode }) => {
            write_refusal(id, flags, rcode, out);
            return Response::Ready;
        }
        Err(QueryError::Opcode { id, flags, opcode }) => {
            let zone = matches!(opcode, OPCODE_NOTIFY | OPCODE_UPDATE).then(|| question_name(packet));
            let rcode = match zone {
                None => Rcode::NOTIMP,
                Some(None) => Rcode::FORMERR,
                Some(Some(zone)) if hosted.get(&zone).is_none() => NOTAUTH,
                Some(Some(zone)) if opcode == OPCODE_NOTIFY => return Response::Notify { zone },
                Some(Some(zone)) => return Response::Update { zone },
            };
            write_refusal(id, flags, rcode, out);
            return Response::Ready;
        }
    };
    if query.tsig_at.is_some() {
        return Response::Signed;
    }
    respond_to(context, hosted, &query, client, recursion, out)
}

fn respond_to(
    context: &Context<'_>,
    hosted: &Hosted,
    query: &QueryView<'_>,
    client: Client,
    recursion: bool,
    out: &mut Vec<u8>,
) -> Response {
    let limit = limit(query, client.transport);
    let mut asked = read_options(context, query, client);
    let proven = asked.proven;
    let early = match () {
        //= RFC 6891 section 6.1.3
        //# If a responder does not implement the VERSION level of the request, then it MUST respond with RCODE=BADVERS.
        () if query.edns.is_some_and(|edns| edns.version != 0) => Some(Rcode::BADVERS),
        () if asked.error.is_some() => asked.error,
        () if !query.is_internet() => Some(Rcode::REFUSED),
        () => None,
    };
    let mut rtype = query.rtype;
    let early = early.or_else(|| match (rtype, client.transport) {
        //= RFC 1995 section 2
        //# Transport of a query may be by either UDP or TCP.
        // The current SOA says that something is new; the rest is for TCP.
        (Rtype::IXFR, Transport::Udp) => {
            rtype = Rtype::SOA;
            None
        }
        //= RFC 5936 section 4.2
        //# AXFR sessions over UDP transport are not defined.
        (Rtype::AXFR, Transport::Udp) => Some(Rcode::REFUSED),
        (Rtype::AXFR | Rtype::IXFR | Rtype::ANY, _) => None,
        (rtype, _) if rtype.is_question_only() => Some(Rcode::NOTIMP),
        _ => None,
    });
    let options = std::mem::take(&mut asked.options);
    if matches!(rtype, Rtype::AXFR | Rtype::IXFR) && early.is_none() {
        let kind = if rtype == Rtype::AXFR { TransferKind::Axfr } else { TransferKind::Ixfr };
        match Name::from_wire(query.name) {
            Ok(zone) if hosted.get(&zone).is_some() => return Response::Transfer { zone, kind },
            Ok(_) | Err(_) => {}
        }
    }
    let flags = ResponseFlags { recursion_available: recursion, ..ResponseFlags::default() };
    let mut writer = ResponseWriter::with_options(query, limit, options, out);
    let empty = writer.mark();
    let extra = if context.addresses { Extra::Addresses } else { Extra::Glue };
    let mut wire = Wire { writer: &mut writer, hooks: context.hooks, dnssec_ok: query.dnssec_ok(), extra };
    let recursive = recursion && query.recursion_desired();
    let mut said = Said { rcode: Rcode::REFUSED, authoritative: false, name: query.name, zone: &[], bytes: 0 };
    let mut alias = NameBuffer::new();
    let (flags, truncated) = match early {
        Some(rcode) => {
            said.rcode = rcode;
            (flags, false)
        }
        None if matches!(rtype, Rtype::AXFR | Rtype::IXFR) => {
            said.rcode = NOTAUTH;
            writer.explain(ExtendedError::NOT_AUTHORITATIVE);
            (flags, false)
        }
        None => match hosted.answer_into(query.name, rtype, &mut wire, &mut alias) {
            Ok(Some(outcome)) if outcome.awaits => {
                return Name::from_wire(&alias).map_or(Response::Drop, |target| Response::Flatten(target, rtype));
            }
            Ok(Some(outcome)) if outcome.leads_out && recursive => return resolve(query),
            Ok(None) if recursive => return resolve(query),
            Ok(None) => {
                let prohibited = query.recursion_desired() && context.recursion_for_some && !recursion;
                let code = if prohibited { ExtendedError::PROHIBITED } else { ExtendedError::NOT_AUTHORITATIVE };
                writer.explain(code);
                (flags, false)
            }
            Ok(Some(outcome)) => {
                (said.rcode, said.authoritative) = (outcome.rcode, outcome.authoritative);
                if outcome.rcode == Rcode::SERVFAIL {
                    writer.rewind(empty);
                }
                (ResponseFlags { authoritative: outcome.authoritative, ..flags }, outcome.truncated)
            }
            // Longer than a message can be: there is no way to say it.
            Err(Full) if client.transport == Transport::Tcp => {
                said.rcode = Rcode::SERVFAIL;
                writer.rewind(empty);
                (flags, false)
            }
            Err(Full) => {
                //= RFC 2181 section 9
                //# When a DNS client receives a reply with TC set, it should ignore that response, and query again
                // So nothing but the question is worth sending.
                (said.rcode, said.authoritative) = (Rcode::NOERROR, true);
                writer.rewind(empty);
                (ResponseFlags { authoritative: true, ..flags }, true)
            }
        },
    };
    if let Some(hooks) = context.hooks.filter(|_| !proven) {
        said.bytes = writer.length();
        match hooks.admit(client, &said) {
            Admission::Answer => {}
            Admission::Drop => return Response::Drop,
            Admission::Slip => {
                writer.rewind(empty);
                writer.finish(Rcode::NOERROR, flags, true);
                return Response::Ready;
            }
        }
    }
    writer.finish(said.rcode, flags, truncated);
    Response::Ready
}

fn resolve(query: &QueryView<'_>) -> Response {
    Name::from_wire(query.name).map_or(Response::Drop, |name| Response::Resolve(name, query.rtype))
}

/// Writes the response to a query that went to the resolver; `packet` is the query again. No allocation, and as a hit costs with hosted zones.
pub fn respond_resolved(context: &Context<'_>, packet: &[u8], resolved: &Resolved, client: Client, out: &mut Vec<u8>) {
    let Ok(query) = QueryView::parse(packet) else {
        out.clear();
        return;
    };
    let mut flags = ResponseFlags { recursion_available: true, ..ResponseFlags::default() };
    // What is wrong with the options was said before the resolver was asked.
    let mut options = read_options(context, &query, client).options;
    options.extended_errors = extended_errors(resolved);
    let mut writer = ResponseWriter::with_options(&query, limit(&query, client.transport), options, out);
    // The stored form points into its own question.
    let mut key: SmallVec<[u8; 256]> = SmallVec::from_slice(query.name);
    key.make_ascii_lowercase();
    if !resolved.is_for(&key, query.rtype) {
        return writer.finish(Rcode::SERVFAIL, flags, false);
    }
    let empty = writer.mark();
    let written = resolved.write(&mut writer, query.dnssec_ok());
    if written.is_err() {
        writer.rewind(empty);
    }
    flags.authentic = resolved.security() == Security::Secure && !resolved.is_stale() && query.authentic_data_wanted();
    writer.finish(resolved.rcode(), flags, written.is_err());
}

/// What a client is told of an answer that is not what it could be.
fn extended_errors(resolved: &Resolved) -> SmallVec<[ExtendedError; 2]> {
    let mut codes = SmallVec::new();
    codes.extend(resolved.extended_error());
    if resolved.is_stale() {
        codes.push(ExtendedError::STALE_ANSWER);
    } else if resolved.is_failure() && resolved.age_seconds() > 0 {
        codes.push(ExtendedError::CACHED_ERROR);
    }
    codes
}

/// For the fuzzer and the replay of its inputs: answers anything, must not panic.
#[doc(hidden)]
pub fn fuzz_respond(data: &[u8]) {
    thread_local!(static HOSTED: Hosted = crate::test_support::hosted());
    let mut out = Vec::new();
    let context = Context { identity: b"ns1", addresses: true, keepalive: Some(100), ..Context::default() };
    for (transport, recursion) in [(Transport::Udp, false), (Transport::Tcp, false), (Transport::Udp, true)] {
        let client = Client { address: [192, 0, 2, 1].into(), transport };
        if HOSTED.with(|hosted| respond(&context, hosted, data, client, recursion, &mut out)) == Response::Ready {
            crate::test_support::assert_readable(&out, transport);
        }
    }
}
