//! Both directions, and hickory-proto as the oracle.

use super::{parse, rdata_text};
use crate::name::Name;
use crate::types::Rtype;
use crate::zone::words_of;
use hickory_proto::rr::RData;
use hickory_proto::serialize::binary::{BinDecoder, Restrict};

/// Records of every type, as people write them; `=` says how we write them where that differs.
const RECORDS: &str = include_str!("../../tests/rdata.txt");

fn from_text(rtype: Rtype, text: &str) -> Result<crate::record::Rdata, String> {
    parse(rtype, &words_of(text), &Name::absolute("example.org").unwrap())
}

#[test]
fn every_type_both_ways() {
    let mut compared = 0;
    let mut seen = std::collections::BTreeSet::new();
    for line in RECORDS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (given, written) = line.split_once(" = ").unwrap_or((line, line));
        let (rtype, given) = given.split_once(' ').unwrap();
        let written = written.strip_prefix(rtype).map_or(written, |rest| rest.trim_start());
        let rtype = Rtype::parse(rtype).unwrap();
        let rdata = from_text(rtype, given).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(rdata_text(rtype, &rdata), written, "{line}");
        assert_eq!(from_text(rtype, written).as_ref(), Ok(&rdata), "{line}");
        seen.insert(rtype);
        // What hickory-proto reads from the text must be what it reads from our octets.
        // But it makes characters of \DDD, not octets, has two words for a key it does not know, and no escapes in lists.
        let differs = ["\\2", "key667", "oo\\"].iter().any(|part| written.contains(part));
        if let Some(parsed) = RData::try_from_str(rtype.0.into(), written).ok().filter(|_| !differs) {
            compared += 1;
            let length = Restrict::new(u16::try_from(rdata.len()).unwrap());
            assert_eq!(RData::read(&mut BinDecoder::new(&rdata), rtype.0.into(), length).unwrap(), parsed, "{line}");
        }
    }
    let typed = (0..=300).map(Rtype).filter(|rtype| super::fields(*rtype).is_some());
    let missing: Vec<Rtype> = typed.filter(|rtype| !seen.contains(rtype)).collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
    assert!(compared > 20, "hickory-proto could read {compared} of them only");
}

#[test]
fn what_is_wrong_is_said() {
    for (record, expected) in [
        ("SVCB 1 . port=x", "parameter port: a port is a number up to 65535"),
        ("SVCB 1 . port=1 port=2", "the parameter port is there twice"),
        ("SVCB 1 . mandatory=alpn", "mandatory names alpn, which is not there"),
        ("HTTPS 1 . nonsense=1", "\"nonsense\" is no parameter; write one as alpn, port or key65280"),
        ("HTTPS 1 . no-default-alpn=1", "parameter no-default-alpn: it takes no value, and \"1\" is one"),
        ("NSEC3 1 0 0 zz 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A", "the salt must be pairs of hexadecimal digits"),
        ("NSEC3 1 0 0 - xyz A", "\"xyz\" is no next hashed owner of a NSEC3 record"),
        ("RRSIG A 13 2 60 20041309000000 0 1 . AA==", "\"20041309000000\" is no expiration of a RRSIG record"),
        ("NSEC a. NOPE", "\"NOPE\" is no record type"),
        ("DS 1 RSAMD9 2 AA", "\"RSAMD9\" is no algorithm of a DS record"),
        ("TLSA 3 1 1 ABC", "the certificate association data must be pairs of hexadecimal digits"),
        ("TLSA 3 1 1", "the TLSA record lacks its certificate association data"),
    ] {
        let (rtype, text) = record.split_once(' ').unwrap();
        assert_eq!(from_text(Rtype::parse(rtype).unwrap(), text).unwrap_err(), expected, "{record}");
    }
}

proptest::proptest! {
    /// What we write for any octets is read as the same octets.
    #[test]
    fn any_data_survives(number in 1..300_u16, rdata in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
        let rtype = Rtype(number);
        let text = rdata_text(rtype, &rdata);
        if let Ok(again) = from_text(rtype, &text) {
            proptest::prop_assert_eq!(&*again, &*rdata, "{}", text);
        } else {
            // Raw octets that are not of the type.
            proptest::prop_assert!(text.starts_with("\\#"), "{}", text);
        }
    }
}
