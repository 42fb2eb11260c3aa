//! A zone and a list to answer from, and questions for what was read from elsewhere: for the fuzz entries.

use crate::hosted::{Hosted, Service};
use crate::list::{BlockList, ListKind};
use crate::message::{PAYLOAD_BYTES, ResponseView};
use crate::name::Name;
use crate::query::write_query;
use crate::resolver::Resolved;
use crate::responder::{Client, Context, Response, Transport, respond, respond_resolved};
use crate::types::Rtype;
use crate::zone::parse_zone;
use std::path::Path;

const ZONE: &str = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\n@ MX 10 mx\nns A 192.0.2.1\nmx A 192.0.2.2\n*.w TXT \"x\"\n\
a CNAME b\nb CNAME c.other.\nsub NS ns.sub\nns.sub A 192.0.2.3\nd DNAME e.example.\n";

pub(crate) fn hosted() -> Hosted {
    let mut hosted = Hosted::default();
    let mut read = |path: &Path| Ok(if path == Path::new("zone") { ZONE } else { "192.0.2.0/24\n" }.to_owned());
    if let Ok(origin) = Name::absolute("example")
        && let Ok(zone) = parse_zone(&origin, Path::new("zone"), &mut read)
        && let Ok(list_origin) = Name::absolute("bl.example")
        && let Ok(list) = BlockList::parse(&list_origin, ListKind::Ip4Set, Path::new("list"), &mut read)
    {
        let _ = hosted.add(&origin, Service::Zone(zone));
        let _ = hosted.add(&list_origin, Service::List(list));
    }
    hosted
}

/// The response to a client of the resolver.
pub(crate) fn give(packet: &[u8], resolved: &Resolved, transport: Transport, out: &mut Vec<u8>) {
    let client = Client { address: [192, 0, 2, 1].into(), transport };
    respond_resolved(&Context { keepalive: Some(100), ..Context::default() }, packet, resolved, client, out);
}

/// Asks a service for what is there, what a wildcard may answer, and what an alias may lead to; every response must be readable.
pub(crate) fn ask_all(origin: &Name, service: Service) {
    let mut hosted = Hosted::default();
    let _ = hosted.add(origin, service);
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    for text in ["@", "a", "b", "a.b", "mx", "test", "1.2.0.192", "2.0.0.127", "192", "a.b.c.d.e.f"] {
        let Ok(name) = Name::parse(text, Some(origin)) else { continue };
        for rtype in [Rtype::A, Rtype::MX, Rtype::TXT, Rtype::CNAME, Rtype::DS, Rtype::ANY] {
            write_query(7, name.wire(), rtype, false, &mut packet);
            for transport in [Transport::Udp, Transport::Tcp] {
                let (context, client) = (Context::default(), Client { address: [192, 0, 2, 1].into(), transport });
                assert_eq!(respond(&context, &hosted, &packet, client, false, &mut out), Response::Ready);
                assert_readable(&out, transport);
            }
        }
    }
}

/// Our own response: within the limit, and one that our own resolver can read.
pub(crate) fn assert_readable(out: &[u8], transport: Transport) {
    assert!(transport == Transport::Tcp || out.len() <= usize::from(PAYLOAD_BYTES));
    assert!(out.len() <= usize::from(u16::MAX));
    let flood = |section: usize| out.get(section..section + 2).is_some_and(|count| count > &[2, 0]);
    assert!(ResponseView::parse(out).is_some() || [6, 8, 10].into_iter().any(flood));
}
