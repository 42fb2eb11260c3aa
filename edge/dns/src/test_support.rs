//! A zone and a list to answer from, for the fuzz entries.

use crate::hosted::{Hosted, Service};
use crate::list::{BlockList, ListKind};
use crate::name::Name;
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
