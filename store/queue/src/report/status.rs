//! The enhanced status code of a reply line (RFC 2034 section 4, RFC 3463), for the Status field of a report.

use postring_mail::EnhancedStatus;

/// The status that goes with a last reply `550 5.1.1 text`: its enhanced code if that is of class 4 or 5, else `4.0.0` or `5.0.0` by
/// the reply code. A reply that is none is `5.0.0`: the failure is final, and that is all that is known.
#[must_use]
pub fn status_of(reply: &str) -> EnhancedStatus {
    let undefined = EnhancedStatus::new(5, 0, 0);
    let Some((code, text)) = reply.split_at_checked(3) else { return undefined };
    if !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return undefined;
    }
    let enhanced = text.strip_prefix([' ', '-']).and_then(|text| text.split(' ').next()).and_then(enhanced_status);
    match enhanced {
        Some(status) if matches!(status.class, 4 | 5) => status,
        _ if code.starts_with('4') => EnhancedStatus::new(4, 0, 0),
        _ => undefined,
    }
}

//= RFC 3463 section 2
//# status-code = class "." subject "." detail
fn enhanced_status(word: &str) -> Option<EnhancedStatus> {
    let number = |digits: &str, digits_max: usize| -> Option<u16> {
        let good = (1..=digits_max).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| digits.parse().ok()).flatten()
    };
    let mut numbers = word.split('.');
    let class = u8::try_from(number(numbers.next()?, 1)?).ok()?;
    let status = EnhancedStatus::new(class, number(numbers.next()?, 3)?, number(numbers.next()?, 3)?);
    numbers.next().is_none().then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for (reply, status) in [
            ("550 5.1.1 no such user", "5.1.1"),
            ("550-5.7.100 x", "5.7.100"),
            ("450 4.4.7 Not delivered", "4.4.7"),
            ("550 4.2.2", "4.2.2"),
            ("550 no such user", "5.0.0"),
            ("421 later", "4.0.0"),
            ("421", "4.0.0"),
            ("550 2.1.5 odd", "5.0.0"),
            ("550 5.1.1.1 odd", "5.0.0"),
            ("550 5.+1.1 odd", "5.0.0"),
            ("550 5.1000.1 odd", "5.0.0"),
            ("550 192.0.2.1 odd", "5.0.0"),
            ("450 5.1 odd", "4.0.0"),
            ("4é4.4.7", "5.0.0"),
            ("4xx 4.4.7", "5.0.0"),
            ("", "5.0.0"),
        ] {
            assert_eq!(status_of(reply).to_string(), status, "{reply}");
        }
    }
}
