//! What a sender asks of reports about its message (RFC 3461), as edge, queue and next hop pass it on.
//!
//! Texts are kept as they came, in xtext, because the next hop gets them so; whoever shows them decodes them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest ENVID, octets of xtext (RFC 3461 section 4.4).
pub const ENVELOPE_ID_BYTES_MAX: usize = 100;
/// Longest ORCPT, octets: address type and xtext (RFC 3461 section 4.2).
pub const ORIGINAL_RECIPIENT_BYTES_MAX: usize = 500;

/// NOTIFY of one recipient. The numbers are part of the envelope's and the queue's formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Notify(u16);

impl Notify {
    const NEVER: u16 = 1;
    const SUCCESS: u16 = 2;
    const FAILURE: u16 = 4;
    const DELAY: u16 = 8;

    /// Reads the value of the parameter; `None` if it is none.
    //= RFC 3461 section 4.1
    //# notify-esmtp-value = "NEVER" / 1#notify-list-element
    //# notify-list-element = "SUCCESS" / "FAILURE" / "DELAY"
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Self(Self::NEVER));
        }
        let mut bits = 0;
        for element in value.split(',') {
            let known = [("SUCCESS", Self::SUCCESS), ("FAILURE", Self::FAILURE), ("DELAY", Self::DELAY)];
            let (_, bit) = known.into_iter().find(|(name, _)| element.eq_ignore_ascii_case(name))?;
            if bits & bit != 0 {
                return None;
            }
            bits |= bit;
        }
        Some(Self(bits))
    }

    /// From the number in a format; `None` for one that no parameter leads to.
    #[must_use]
    pub fn from_bits(bits: u16) -> Option<Self> {
        (bits == Self::NEVER || bits & !(Self::SUCCESS | Self::FAILURE | Self::DELAY) == 0).then_some(Self(bits))
    }

    /// The number for a format; 0: not given.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    /// The sender wants to hear that a recipient failed: also if nothing was said.
    #[must_use]
    pub fn wants_failure(self) -> bool {
        self.0 == 0 || self.0 & Self::FAILURE != 0
    }

    /// The sender wants to hear that the message is late. Not unless it was said (RFC 3461 section 4.1 leaves the choice).
    #[must_use]
    pub fn wants_delay(self) -> bool {
        self.0 & Self::DELAY != 0
    }

    /// The sender wants to hear that the message arrived.
    #[must_use]
    pub fn wants_success(self) -> bool {
        self.0 & Self::SUCCESS != 0
    }
}

impl std::fmt::Display for Notify {
    /// The parameter's value; nothing if it was not given.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = [(Self::NEVER, "NEVER"), (Self::SUCCESS, "SUCCESS"), (Self::FAILURE, "FAILURE"), (Self::DELAY, "DELAY")];
        let mut given = words.into_iter().filter(|(bit, _)| self.0 & bit != 0);
        if let Some((_, first)) = given.next() {
            f.write_str(first)?;
        }
        given.try_for_each(|(_, word)| write!(f, ",{word}"))
    }
}

/// What was asked for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RecipientRequest {
    /// NOTIFY.
    pub notify: Notify,
    /// ORCPT: address type and address in xtext, or empty.
    pub original_recipient: String,
}

/// What of the message goes back in a report of failure (RET, RFC 3461 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// RET=FULL.
    Full,
    /// RET=HDRS.
    Headers,
}

impl Returned {
    /// Reads the value of the parameter; `None` if it is none.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        [("FULL", Self::Full), ("HDRS", Self::Headers)]
            .into_iter()
            .find_map(|(name, returned)| value.eq_ignore_ascii_case(name).then_some(returned))
    }
}

/// True for what ENVID may be.
#[must_use]
pub fn is_envelope_id(value: &str) -> bool {
    !value.is_empty() && value.len() <= ENVELOPE_ID_BYTES_MAX && decode_xtext(value).is_some()
}

/// True for what ORCPT may be: an address type and an address in xtext.
//= RFC 3461 section 4.2
//# original-recipient-address = addr-type ";" xtext
#[must_use]
pub fn is_original_recipient(value: &str) -> bool {
    let Some((address_type, address)) = value.split_once(';') else { return false };
    let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*-/?^_`{|}~".contains(&byte);
    value.len() <= ORIGINAL_RECIPIENT_BYTES_MAX
        && !address_type.is_empty()
        && address_type.bytes().all(is_atom)
        && !address.is_empty()
        && decode_xtext(address).is_some()
}

/// An ORCPT as it is kept and given on; `None` for what may be none. With SMTPUTF8 an address of the type `utf-8` may have characters outside ASCII: they are
/// written as any next hop can take them.
//= RFC 6533 section 3
//# utf-8-enc-addr = utf-8-addr-xtext / utf-8-addr-unitext / utf-8-address
#[must_use]
pub fn original_recipient(value: &str, utf8: bool) -> Option<Cow<'_, str>> {
    if value.is_ascii() {
        return is_original_recipient(value).then_some(Cow::Borrowed(value));
    }
    let (address_type, address) = value.split_once(';')?;
    if !utf8 || !address_type.eq_ignore_ascii_case("utf-8") || address.chars().any(char::is_control) {
        return None;
    }
    let mut written = format!("{address_type};");
    for c in address.chars() {
        if c.is_ascii() {
            written.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(written, "\\x{{{:X}}}", u32::from(c));
        }
    }
    is_original_recipient(&written).then_some(Cow::Owned(written))
}

/// What xtext stands for; `None` if it is none, or stands for more than one line of printable ASCII.
//= RFC 3461 section 4
//# xtext = *( xchar / hexchar )
//# xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "=".
//# hexchar = ASCII "+" immediately followed by two upper case hexadecimal digits
#[must_use]
pub fn decode_xtext(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| {
        byte.filter(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')).and_then(|byte| char::from(byte).to_digit(16))
    };
    while let Some(byte) = bytes.next() {
        let c = match byte {
            b'+' => char::from_u32(digit(bytes.next())? * 16 + digit(bytes.next())?)?,
            b'!'..=b'~' if byte != b'=' => char::from(byte),
            _ => return None,
        };
        if !matches!(c, ' '..='~') {
            return None;
        }
        decoded.push(c);
    }
    Some(decoded)
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic; what is taken is written as itself.
#[doc(hidden)]
pub fn fuzz_dsn(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(notify) = Notify::parse(text) {
        assert_eq!(Notify::parse(&notify.to_string()), Some(notify));
        assert_eq!(Notify::from_bits(notify.bits()), Some(notify));
    }
    if let Some(decoded) = decode_xtext(text) {
        assert!(decoded.len() <= text.len() && decoded.chars().all(|c| matches!(c, ' '..='~')));
    }
    if let Some(value) = original_recipient(text, true) {
        assert!(is_original_recipient(&value));
    }
    // They go into commands: no blank, no line end.
    if is_envelope_id(text) || is_original_recipient(text) {
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn international_original_recipients_are_given_on_in_ascii() {
        let taken = |value: &'static str| original_recipient(value, true).map(Cow::into_owned);
        assert_eq!(taken("utf-8;j\u{fc}rgen@b\u{fc}cher.example").as_deref(), Some("utf-8;j\\x{FC}rgen@b\\x{FC}cher.example"));
        assert_eq!(taken("UTF-8;\u{7528}\u{1f4e7}@x").as_deref(), Some("UTF-8;\\x{7528}\\x{1F4E7}@x"));
        assert_eq!(taken("rfc822;a+2Bb@x").as_deref(), Some("rfc822;a+2Bb@x"));
        for wrong in ["rfc822;\u{fc}@x", "utf-8;\u{fc}=@x", "utf-8;\u{fc}\u{85}@x", "utf-8;\u{fc} @x", "\u{fc}"] {
            assert_eq!(taken(wrong), None, "{wrong}");
        }
        assert_eq!(original_recipient("utf-8;\u{fc}@x", false), None);
    }

    #[test]
    fn notify() {
        for (value, again) in [("never", "NEVER"), ("DELAY,Success", "SUCCESS,DELAY"), ("FAILURE", "FAILURE")] {
            assert_eq!(Notify::parse(value).map(|notify| notify.to_string()).as_deref(), Some(again));
        }
        for bad in ["", "NEVER,FAILURE", "SUCCESS,SUCCESS", "SUCCESS,", "ALWAYS", " SUCCESS"] {
            assert_eq!(Notify::parse(bad), None, "{bad}");
        }
        let unsaid = Notify::default();
        assert!(unsaid.wants_failure() && !unsaid.wants_delay() && !unsaid.wants_success());
        let never = Notify::parse("NEVER").unwrap();
        assert!(!never.wants_failure() && !never.wants_delay() && !never.wants_success());
        assert_eq!(Notify::from_bits(3), None);
        assert_eq!(Notify::from_bits(16), None);
    }

    #[test]
    fn xtext() {
        assert_eq!(decode_xtext("a+2Bb+3D+20c").as_deref(), Some("a+b= c"));
        for bad in ["+", "+2", "+2b", "a=b", "a b", "+0A", "+00", "+E9", "ö", "+7F"] {
            assert_eq!(decode_xtext(bad), None, "{bad}");
        }
        assert!(is_envelope_id("QQ314159") && !is_envelope_id("") && !is_envelope_id(&"x".repeat(101)));
        assert!(is_original_recipient("rfc822;a+2Bb@c.example") && is_original_recipient("utf-8;j\\x{F6}rg@c.example"));
        for bad in ["rfc822", ";a", "rfc822;", "rf c;a", "rfc822;a b", "a@b;c"] {
            assert!(!is_original_recipient(bad), "{bad}");
        }
        assert!(!is_original_recipient(&format!("rfc822;{}", "x".repeat(494))));
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text in "[A-Za-z0-9+=;, \\PC]{0,30}") { fuzz_dsn(text.as_bytes()); }
    }
}
