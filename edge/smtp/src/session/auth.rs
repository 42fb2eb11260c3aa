//! SASL exchanges of AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN (the old one of everybody's telephone).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where an exchange stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// PLAIN: waits for its one message.
    Plain,
    /// LOGIN: waits for the name.
    LoginName,
    /// LOGIN: waits for the password of this name.
    LoginPassword(String),
}

/// What a client's message leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Send `334` with this challenge (already base64).
    Challenge(Exchange, &'static str),
    /// Check these.
    Credentials { name: String, password: Vec<u8> },
    /// Not base64, or not what the mechanism says.
    Broken,
}

/// Begins a mechanism; `None`: not one of ours. The initial response is `=` for an empty one (RFC 4954 section 4).
pub(crate) fn begin(mechanism: &str, initial: Option<&str>) -> Option<Progress> {
    let (exchange, challenge) = if mechanism.eq_ignore_ascii_case("PLAIN") {
        (Exchange::Plain, "")
    } else if mechanism.eq_ignore_ascii_case("LOGIN") {
        (Exchange::LoginName, "VXNlcm5hbWU6")
    } else {
        return None;
    };
    Some(match initial {
        None => Progress::Challenge(exchange, challenge),
        Some(initial) => proceed(exchange, if initial == "=" { "" } else { initial }),
    })
}

/// Takes the client's next line.
pub(crate) fn proceed(exchange: Exchange, line: &str) -> Progress {
    let Ok(message) = STANDARD.decode(line) else { return Progress::Broken };
    match exchange {
        //= RFC 4616 section 2
        //# message   = [authzid] UTF8NUL authcid UTF8NUL passwd
        Exchange::Plain => {
            let mut parts = message.split(|byte| *byte == 0);
            let (Some(authorization), Some(name), Some(password), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Progress::Broken;
            };
            let Ok(name) = std::str::from_utf8(name) else { return Progress::Broken };
            // Acting for somebody else is not offered.
            if name.is_empty() || !(authorization.is_empty() || authorization == name.as_bytes()) {
                return Progress::Broken;
            }
            Progress::Credentials { name: name.to_owned(), password: password.to_vec() }
        }
        Exchange::LoginName => match String::from_utf8(message) {
            Ok(name) if !name.is_empty() => Progress::Challenge(Exchange::LoginPassword(name), "UGFzc3dvcmQ6"),
            _ => Progress::Broken,
        },
        Exchange::LoginPassword(name) => Progress::Credentials { name, password: message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_login() {
        let credentials =
            |name: &str, password: &[u8]| Progress::Credentials { name: name.to_owned(), password: password.to_vec() };
        assert_eq!(begin("plain", Some("AHUAcA==")), Some(credentials("u", b"p")));
        assert_eq!(begin("PLAIN", None), Some(Progress::Challenge(Exchange::Plain, "")));
        assert_eq!(begin("CRAM-MD5", None), None);
        assert_eq!(begin("PLAIN", Some("dQB1AHA=")), Some(credentials("u", b"p")), "authzid equal to authcid");
        for broken in ["", "AHU=", "!", "AHUAcABx", "eAB1AHA=", "AABw"] {
            assert_eq!(proceed(Exchange::Plain, broken), Progress::Broken, "{broken}");
        }
        let Some(Progress::Challenge(exchange, _)) = begin("LOGIN", None) else { panic!() };
        let Progress::Challenge(exchange, _) = proceed(exchange, "dQ==") else { panic!() };
        assert_eq!(proceed(exchange, "cA=="), credentials("u", b"p"));
    }
}
