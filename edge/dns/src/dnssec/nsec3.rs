//! Hashed names: the NSEC3 and NSEC3PARAM records (RFC 5155 sections 3 to 5).
//!
//! ```text
//!   NSEC3:       hash algorithm 1 | flags 1 | iterations 2 | salt length 1 | salt | hash length 1 | next hash | type bit map
//!   NSEC3PARAM:  hash algorithm 1 | flags 1 | iterations 2 | salt length 1 | salt
//! ```

use super::bitmap::is_well_formed;
use crate::wire::Reader;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use smallvec::SmallVec;

/// The only hash algorithm: SHA-1 (RFC 5155 section 11).
pub const HASH_SHA1: u8 = 1;
/// The span may hide unsigned delegations (RFC 5155 section 3.1.2.1).
pub const FLAG_OPT_OUT: u8 = 1;
/// Octets of a hash.
pub const HASH_BYTES: usize = 20;
/// Octets of a hash in base32hex.
pub const LABEL_BYTES: usize = 32;

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The hash of a name (RFC 5155 section 5).
///
/// Cost: 1 + `iterations` SHA-1 over at most 255 + 255 octets, 0.1 to 0.5 us each; the caller bounds the iterations.
#[must_use]
pub fn hash(name: &[u8], iterations: u16, salt: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    let mut step = |input: &[u8]| {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(input);
        context.update(salt);
        if let Ok(digest) = <[u8; HASH_BYTES]>::try_from(context.finish().as_ref()) {
            hash = digest;
        }
        hash
    };
    let mut lower: SmallVec<[u8; 256]> = SmallVec::from_slice(name);
    lower.make_ascii_lowercase();
    let mut last = step(&lower);
    for _ in 0..iterations {
        last = step(&last);
    }
    last
}

/// A hash as the label of an owner: base32hex without padding, lower-case (RFC 4648 section 7).
#[must_use]
pub fn label(hash: &[u8; HASH_BYTES]) -> [u8; LABEL_BYTES] {
    let mut label = [b'0'; LABEL_BYTES];
    // 5 octets are 8 digits.
    for (octets, digits) in hash.chunks_exact(5).zip(label.chunks_exact_mut(8)) {
        let number = octets.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        for (at, digit) in digits.iter_mut().enumerate() {
            let value = usize::try_from(number >> (35 - 5 * at) & 31).unwrap_or(0);
            *digit = DIGITS.get(value).copied().unwrap_or(b'0');
        }
    }
    label
}

/// The hash that a label of an owner tells. `None`: it is none.
#[must_use]
pub fn parse_label(label: &[u8]) -> Option<[u8; HASH_BYTES]> {
    if label.len() != LABEL_BYTES {
        return None;
    }
    let mut hash = [0; HASH_BYTES];
    for (digits, octets) in label.chunks_exact(8).zip(hash.chunks_exact_mut(5)) {
        let mut number = 0_u64;
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'v' => digit - b'a' + 10,
                b'A'..=b'V' => digit - b'A' + 10,
                _ => return None,
            };
            number = number << 5 | u64::from(value);
        }
        octets.copy_from_slice(number.to_be_bytes().last_chunk::<5>()?);
    }
    Some(hash)
}

/// What decides a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nsec3Param<'r> {
    /// See [`HASH_SHA1`].
    pub hash_algorithm: u8,
    /// See [`FLAG_OPT_OUT`]; 0 in an NSEC3PARAM that counts (RFC 5155 section 4.1.2).
    pub flags: u8,
    /// Hashes after the first.
    pub iterations: u16,
    /// Behind the name in each hash.
    pub salt: &'r [u8],
}

impl<'r> Nsec3Param<'r> {
    /// Reads the data of an NSEC3PARAM record. `None`: it is broken.
    #[must_use]
    pub fn parse(rdata: &'r [u8]) -> Option<Self> {
        let mut reader = Reader::new(rdata, 0);
        let param = Self::read(&mut reader)?;
        (reader.position() == rdata.len()).then_some(param)
    }

    fn read(reader: &mut Reader<'r>) -> Option<Self> {
        let [hash_algorithm, flags] = *reader.bytes(2)?.first_chunk()?;
        let iterations = reader.u16()?;
        let salt_length = *reader.bytes(1)?.first()?;
        Some(Self { hash_algorithm, flags, iterations, salt: reader.bytes(salt_length.into())? })
    }

    /// Writes the data of an NSEC3PARAM record, which is also how the data of an NSEC3 record begins.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.hash_algorithm, self.flags]);
        out.extend_from_slice(&self.iterations.to_be_bytes());
        let salt = self.salt.get(..255).unwrap_or(self.salt);
        out.push(u8::try_from(salt.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(salt);
    }

    /// See [`hash`].
    #[must_use]
    pub fn hash(&self, name: &[u8]) -> [u8; HASH_BYTES] {
        hash(name, self.iterations, self.salt)
    }
}

/// The data of an NSEC3 record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nsec3<'r> {
    /// How hashes are made.
    pub param: Nsec3Param<'r>,
    /// The next hash in order; the first behind the last.
    pub next: [u8; HASH_BYTES],
    /// The types at the name with the owner's hash.
    pub bitmap: &'r [u8],
}

impl<'r> Nsec3<'r> {
    /// Reads the data. `None`: it is broken, or of a hash that is not known.
    #[must_use]
    pub fn parse(rdata: &'r [u8]) -> Option<Self> {
        let mut reader = Reader::new(rdata, 0);
        let param = Nsec3Param::read(&mut reader)?;
        let length = *reader.bytes(1)?.first()?;
        let next = <[u8; HASH_BYTES]>::try_from(reader.bytes(length.into())?).ok()?;
        let bitmap = rdata.get(reader.position()..)?;
        (param.hash_algorithm == HASH_SHA1 && is_well_formed(bitmap)).then_some(Self { param, next, bitmap })
    }

    /// Writes the data.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.param.write(out);
        out.push(u8::try_from(HASH_BYTES).unwrap_or(0));
        out.extend_from_slice(&self.next);
        out.extend_from_slice(self.bitmap);
    }

    /// True if the span may hide unsigned delegations.
    #[must_use]
    pub fn is_opt_out(&self) -> bool {
        self.param.flags & FLAG_OPT_OUT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use proptest::prelude::*;

    /// RFC 5155 appendix A.
    #[test]
    fn hashes_of_rfc_5155() {
        for (name, expected) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("ai.example", "gjeqe526plbf1g8mklp59enfd789njgi"),
            ("ns1.example", "2t7b4g4vsa5smi47k61mv5bv1a22bojr"),
            ("ns2.example", "q04jkcevqvmu85r014c7dkba38o0ji5r"),
            ("w.example", "k8udemvp1j2f7eg6jebps17vp3n8i58h"),
            ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
            ("x.w.example", "b4um86eghhds6nea196smvmlo4ors995"),
            ("y.w.example", "ji6neoaepv8b5o6k4ev33abha8ht9fgc"),
            ("x.y.w.example", "2vptu5timamqttgl4luu9kg21e0aor3s"),
            ("XX.example", "t644ebqk9bibcna874givr6joj62mlhv"),
            ("2t7b4g4vsa5smi47k61mv5bv1a22bojr.example", "kohar7mbb8dc2ce8a9qvl8hon4k53uhi"),
        ] {
            let hash = hash(Name::absolute(name).unwrap().wire(), 12, &[0xaa, 0xbb, 0xcc, 0xdd]);
            assert_eq!(std::str::from_utf8(&label(&hash)).unwrap(), expected, "{name}");
            assert_eq!(parse_label(expected.to_uppercase().as_bytes()), Some(hash));
        }
        assert_eq!(parse_label(b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tow"), None);
        assert_eq!(parse_label(b"0p9mhaveqvm6t7vbl5lop2u3t2rp3to"), None);
    }

    proptest! {
        #[test]
        fn hashes_are_hickorys(text in "[a-zA-Z0-9]{1,20}(\\.[a-z]{1,5}){0,3}\\.", iterations in 0..60_u16, salt in proptest::collection::vec(any::<u8>(), 0..10)) {
            let theirs = hickory_proto::rr::Name::from_ascii(&text).unwrap();
            let theirs = hickory_proto::dnssec::Nsec3HashAlgorithm::SHA1.hash(&salt, &theirs, iterations).unwrap();
            let ours = hash(Name::parse(&text, None).unwrap().wire(), iterations, &salt);
            prop_assert_eq!(theirs.as_ref(), &ours[..]);
            prop_assert_eq!(parse_label(&label(&ours)), Some(ours));
        }

        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (Nsec3Param::parse(&data), parse_label(&data));
            if let Some(nsec3) = Nsec3::parse(&data) {
                let mut out = Vec::new();
                nsec3.write(&mut out);
                prop_assert_eq!(out, data);
            }
        }
    }
}
