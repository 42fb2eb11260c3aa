//! As much of DER as an RSA public key takes: SubjectPublicKeyInfo (RFC 5280 section 4.1) round RSAPublicKey (RFC 8017 appendix A.1.1).

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// The object identifier 1.2.840.113549.1.1.1, rsaEncryption, with tag and length.
const RSA_ENCRYPTION: [u8; 11] = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

/// Modulus and exponent of an RSA public key, without zeros before. Both forms are taken: the one above, which RFC 6376 shows, and the
/// RSAPublicKey alone, which its text asks for (erratum 3017).
pub(super) fn rsa_public_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (outer, rest) = element(der, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let key = match element(outer, SEQUENCE) {
        None => outer,
        Some((algorithm, bits)) => {
            if !algorithm.starts_with(&RSA_ENCRYPTION) {
                return None;
            }
            let (bits, rest) = element(bits, BIT_STRING)?;
            let (key, behind) = element(bits.strip_prefix(&[0])?, SEQUENCE)?;
            if !rest.is_empty() || !behind.is_empty() {
                return None;
            }
            key
        }
    };
    let (modulus, rest) = element(key, INTEGER)?;
    let (exponent, rest) = element(rest, INTEGER)?;
    if !rest.is_empty() {
        return None;
    }
    Some((positive(modulus)?, positive(exponent)?))
}

/// The content of the element at the start, and what is behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    if first == tag { rest.split_at_checked(length) } else { None }
}

/// The octets of a number above zero.
fn positive(integer: &[u8]) -> Option<&[u8]> {
    if integer.first()? & 0x80 != 0 {
        return None;
    }
    let zeros = integer.iter().take_while(|octet| **octet == 0).count();
    integer.get(zeros..).filter(|octets| !octets.is_empty())
}
