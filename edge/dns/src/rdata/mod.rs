//! The data of each record type: which fields it has, and how a master file writes them (RFC 1035 section 5.1 and each type's RFC).
//!
//! [`fields`] is the one place that knows a type; [`parse`] and [`text`] walk it in both directions.
//!
//! ```text
//!   words of a master file ── parse ──> fields(rtype) ──> wire
//!   wire ── text ──> fields(rtype) ──> words of a master file
//! ```

mod parse;
mod svcb;
mod text;
mod time;

pub(crate) use parse::parse;
pub use text::rdata_text;

use crate::types::Rtype;

/// How a field stands on the wire and in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number of 8 bits.
    U8,
    /// A number of 16 bits.
    U16,
    /// A number of 32 bits.
    U32,
    /// 32 bits of seconds; text may use units as `1h30m`.
    Seconds,
    /// 32 bits of seconds since 1970, in text as `YYYYMMDDHHMMSS` (RFC 4034 section 3.2).
    Moment,
    /// A domain name.
    Name,
    /// A record type.
    Type,
    /// The rest: a bit map of record types (RFC 4034 section 4.1.2).
    Types,
    /// A DNSSEC algorithm: a number, or its mnemonic.
    Algorithm,
    /// Four octets.
    Ipv4,
    /// Sixteen octets.
    Ipv6,
    /// A length octet, and as many octets of text.
    String,
    /// A string of letters and digits, without quotes (RFC 8659 section 4.1).
    Tag,
    /// One or more strings, to the end.
    Strings,
    /// The rest is one string without a length.
    RestString,
    /// A length octet and as many octets; in text one word of hexadecimal digits, `-` for none.
    CountedHex,
    /// The same, in text in the base 32 of RFC 4648 section 7 without padding.
    CountedBase32,
    /// The rest, in text as hexadecimal digits; may be cut into words.
    Hex,
    /// The rest, in text as base 64; may be cut into words.
    Base64,
    /// The rest: parameters of a service binding (RFC 9460 section 2.1).
    ServiceParameters,
}

use Kind::*;

/// A field: what people call it, and its form.
pub(crate) type Field = (&'static str, Kind);

/// The fields of a type; `None` for one without a text form of its own, written as RFC 3597 section 5 says.
pub(crate) fn fields(rtype: Rtype) -> Option<&'static [Field]> {
    Some(match rtype {
        Rtype::A => &[("IPv4 address", Ipv4)],
        Rtype::AAAA => &[("IPv6 address", Ipv6)],
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME | Rtype::ALIAS => &[("name", Name)],
        Rtype::MX => &[("preference", U16), ("exchange", Name)],
        Rtype::AFSDB => &[("subtype", U16), ("host", Name)],
        Rtype::KX => &[("preference", U16), ("exchanger", Name)],
        Rtype::RP => &[("mailbox", Name), ("name of the text", Name)],
        Rtype::SOA => &[
            ("primary server", Name),
            ("mailbox", Name),
            ("serial", U32),
            ("refresh time", Seconds),
            ("retry time", Seconds),
            ("expire time", Seconds),
            ("minimum", Seconds),
        ],
        Rtype::SRV => &[("priority", U16), ("weight", U16), ("port", U16), ("target", Name)],
        Rtype::TXT | Rtype::SPF => &[("text", Strings)],
        Rtype::HINFO => &[("CPU", String), ("OS", String)],
        Rtype::CAA => &[("flags", U8), ("tag", Tag), ("value", RestString)],
        Rtype::URI => &[("priority", U16), ("weight", U16), ("target", RestString)],
        Rtype::NAPTR => &[
            ("order", U16),
            ("preference", U16),
            ("flags", String),
            ("services", String),
            ("regular expression", String),
            ("replacement", Name),
        ],
        Rtype::TLSA | Rtype::SMIMEA => {
            &[("certificate usage", U8), ("selector", U8), ("matching type", U8), ("certificate association data", Hex)]
        }
        Rtype::SSHFP => &[("algorithm", U8), ("fingerprint type", U8), ("fingerprint", Hex)],
        Rtype::CERT => &[("certificate type", U16), ("key tag", U16), ("algorithm", Algorithm), ("certificate", Base64)],
        Rtype::DS | Rtype::CDS => &[("key tag", U16), ("algorithm", Algorithm), ("digest type", U8), ("digest", Hex)],
        Rtype::DNSKEY | Rtype::CDNSKEY => &[("flags", U16), ("protocol", U8), ("algorithm", Algorithm), ("public key", Base64)],
        Rtype::RRSIG => &[
            ("type covered", Type),
            ("algorithm", Algorithm),
            ("labels", U8),
            ("original TTL", U32),
            ("expiration", Moment),
            ("inception", Moment),
            ("key tag", U16),
            ("signer's name", Name),
            ("signature", Base64),
        ],
        Rtype::NSEC => &[("next name", Name), ("types", Types)],
        Rtype::NSEC3 => &[
            ("hash algorithm", U8),
            ("flags", U8),
            ("iterations", U16),
            ("salt", CountedHex),
            ("next hashed owner", CountedBase32),
            ("types", Types),
        ],
        Rtype::NSEC3PARAM => &[("hash algorithm", U8), ("flags", U8), ("iterations", U16), ("salt", CountedHex)],
        Rtype::CSYNC => &[("serial", U32), ("flags", U16), ("types", Types)],
        Rtype::ZONEMD => &[("serial", U32), ("scheme", U8), ("hash algorithm", U8), ("digest", Hex)],
        Rtype::OPENPGPKEY => &[("public key", Base64)],
        Rtype::DHCID => &[("identity", Base64)],
        Rtype::SVCB | Rtype::HTTPS => &[("priority", U16), ("target", Name), ("parameters", ServiceParameters)],
        _ => return None,
    })
}

/// DNSSEC algorithms by their mnemonics (RFC 8624 section 3.1).
const ALGORITHMS: &[(&str, u8)] = &[
    ("RSASHA1", 5),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
];

#[cfg(test)]
mod tests;
