//! The registries' numbers: record types, classes, response codes, opcodes (RFC 6895).

use std::fmt;

/// A record type. Unknown ones are carried as they are (RFC 3597).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rtype(pub u16);

macro_rules! rtypes {
    ($($name:ident = $value:literal, $text:literal;)+) => {
        #[allow(missing_docs)] // their names are the registry's
        impl Rtype { $(pub const $name: Self = Self($value);)+ }
        const NAMES: &[(&str, Rtype)] = &[$(($text, Rtype::$name)),+];
    };
}

rtypes! {
    A = 1, "A"; NS = 2, "NS"; CNAME = 5, "CNAME"; SOA = 6, "SOA"; PTR = 12, "PTR"; HINFO = 13, "HINFO"; MX = 15, "MX"; TXT = 16, "TXT";
    RP = 17, "RP"; AFSDB = 18, "AFSDB"; AAAA = 28, "AAAA"; SRV = 33, "SRV"; NAPTR = 35, "NAPTR"; KX = 36, "KX"; CERT = 37, "CERT";
    DNAME = 39, "DNAME"; OPT = 41, "OPT"; DS = 43, "DS"; SSHFP = 44, "SSHFP"; RRSIG = 46, "RRSIG"; NSEC = 47, "NSEC"; DNSKEY = 48, "DNSKEY";
    DHCID = 49, "DHCID"; NSEC3 = 50, "NSEC3"; NSEC3PARAM = 51, "NSEC3PARAM"; TLSA = 52, "TLSA"; SMIMEA = 53, "SMIMEA"; CDS = 59, "CDS";
    CDNSKEY = 60, "CDNSKEY"; OPENPGPKEY = 61, "OPENPGPKEY"; CSYNC = 62, "CSYNC"; ZONEMD = 63, "ZONEMD"; SVCB = 64, "SVCB"; HTTPS = 65, "HTTPS";
    SPF = 99, "SPF"; NXNAME = 128, "NXNAME"; TSIG = 250, "TSIG"; IXFR = 251, "IXFR"; AXFR = 252, "AXFR"; ANY = 255, "ANY"; URI = 256, "URI";
    CAA = 257, "CAA"; ALIAS = 65401, "ALIAS";
}

impl Rtype {
    // ALIAS is of the range for private use, with PowerDNS' number and meaning; it is never said to others.

    /// From its name, or `TYPE` and a number (RFC 3597 section 5).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let known = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, rtype)| *rtype);
        let number = || text.get(..4).filter(|prefix| prefix.eq_ignore_ascii_case("TYPE")).and(text.get(4..));
        known.or_else(|| number()?.parse().ok().map(Self))
    }

    /// True for what may stand in a question only (RFC 6895 section 3.1).
    #[must_use]
    pub fn is_question_only(self) -> bool {
        (128..=255).contains(&self.0) || self == Self::OPT
    }
}

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, rtype)| rtype == self) {
            Some((name, _)) => f.pad(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// The class of the Internet; the only one served.
pub const CLASS_IN: u16 = 1;
/// "Any class", in questions.
pub const CLASS_ANY: u16 = 255;

/// A response code; those above 15 need EDNS (RFC 6891 section 6.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    /// All is well; without records of the type asked it says the name has none.
    pub const NOERROR: Self = Self(0);
    /// The query cannot be read.
    pub const FORMERR: Self = Self(1);
    /// Something went wrong here or further up.
    pub const SERVFAIL: Self = Self(2);
    /// There is no such name, nor any below it.
    pub const NXDOMAIN: Self = Self(3);
    /// This kind of query is not known.
    pub const NOTIMP: Self = Self(4);
    /// Not for you, or not ours.
    pub const REFUSED: Self = Self(5);
    /// A name exists that must not (RFC 2136 section 2.2).
    pub const YXDOMAIN: Self = Self(6);
    /// A record set exists that must not.
    pub const YXRRSET: Self = Self(7);
    /// A record set does not exist that must.
    pub const NXRRSET: Self = Self(8);
    /// Not in charge of this zone, or not signed as it must be (RFC 8945 section 3).
    pub const NOTAUTH: Self = Self(9);
    /// A name is not within the zone.
    pub const NOTZONE: Self = Self(10);
    /// An EDNS version not known (RFC 6891 section 9).
    pub const BADVERS: Self = Self(16);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::NOERROR => "NOERROR",
            Self::FORMERR => "FORMERR",
            Self::SERVFAIL => "SERVFAIL",
            Self::NXDOMAIN => "NXDOMAIN",
            Self::NOTIMP => "NOTIMP",
            Self::REFUSED => "REFUSED",
            Self::YXDOMAIN => "YXDOMAIN",
            Self::YXRRSET => "YXRRSET",
            Self::NXRRSET => "NXRRSET",
            Self::NOTAUTH => "NOTAUTH",
            Self::NOTZONE => "NOTZONE",
            Self::BADVERS => "BADVERS",
            Self(code) => return write!(f, "RCODE{code}"),
        })
    }
}

/// An info code of the registry "Extended DNS Error" (RFC 8914 section 5.2): why an answer is not what it could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedError(pub u16);

#[allow(missing_docs)] // their names are the registry's
impl ExtendedError {
    pub const UNSUPPORTED_DNSKEY_ALGORITHM: Self = Self(1);
    pub const UNSUPPORTED_DS_DIGEST: Self = Self(2);
    pub const STALE_ANSWER: Self = Self(3);
    pub const BOGUS: Self = Self(6);
    pub const SIGNATURE_EXPIRED: Self = Self(7);
    pub const SIGNATURE_NOT_YET_VALID: Self = Self(8);
    pub const DNSKEY_MISSING: Self = Self(9);
    pub const RRSIGS_MISSING: Self = Self(10);
    pub const NO_ZONE_KEY_BIT: Self = Self(11);
    pub const NSEC_MISSING: Self = Self(12);
    pub const CACHED_ERROR: Self = Self(13);
    pub const PROHIBITED: Self = Self(18);
    pub const NOT_AUTHORITATIVE: Self = Self(20);
    pub const NO_REACHABLE_AUTHORITY: Self = Self(22);
    pub const NETWORK_ERROR: Self = Self(23);
    pub const UNSUPPORTED_NSEC3_ITERATIONS: Self = Self(27);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(
            (Rtype::parse("mx"), Rtype::parse("TYPE65280"), Rtype::parse("nope")),
            (Some(Rtype::MX), Some(Rtype(65280)), None)
        );
        assert_eq!((Rtype::AAAA.to_string(), Rtype(999).to_string()), ("AAAA".to_owned(), "TYPE999".to_owned()));
        assert!(Rtype::ANY.is_question_only() && !Rtype::CAA.is_question_only());
    }
}
