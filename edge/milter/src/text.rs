//! Texts of others that become replies of ours.

use postring_mail::Reply;

/// Octets of one line of a reply that somebody else has written: with its codes it fits in 512 (RFC 5321 section 4.5.3.1.5).
const LINE_BYTES_MAX: usize = 400;
/// Lines of such a reply.
const LINES_MAX: usize = 10;

/// A reply with a text that may begin with an enhanced code ("5.7.1 No"); without one it gets `subject` and `detail`. What is no printable ASCII is
/// shown as "?".
pub(crate) fn reply(code: u16, (subject, detail): (u16, u16), text: &str, otherwise: &str) -> Reply {
    let (status, text) = enhanced(text.trim()).map_or(((subject, detail), text.trim()), |(status, rest)| (status, rest));
    let text = if text.is_empty() { otherwise } else { text };
    Reply::with_text(code, status.0, status.1, clean(text))
}

/// A whole reply, "550 5.7.1 No" or with several lines "550-5.7.1 First", "550 5.7.1 Last"; `None` if that is none, or no refusal.
pub(crate) fn refusal(text: &str, default: (u16, u16), otherwise: &str) -> Option<Reply> {
    let digits = text.get(..3)?;
    let code: u16 = digits.parse().ok().filter(|code| (400..600).contains(code))?;
    let mut status = default;
    let mut lines = Vec::new();
    for line in text.trim_end().lines().take(LINES_MAX) {
        let line = line.strip_prefix(digits)?;
        let line = match line.strip_prefix(['-', ' ']) {
            Some(rest) => rest,
            None if line.is_empty() => line,
            None => return None,
        };
        let (found, line) = enhanced(line).map_or((None, line), |(found, rest)| (Some(found), rest));
        status = found.unwrap_or(status);
        lines.push(line);
    }
    Some(reply(code, status, &lines.join("\n"), otherwise))
}

//= RFC 3463 section 2
//# status-code ::= class "." subject "." detail
/// Subject and detail of a code at the beginning, and what is behind it. The class is not taken: it must be the reply code's.
fn enhanced(text: &str) -> Option<((u16, u16), &str)> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = word.split('.');
    let mut number = |digits: usize| {
        let part = parts.next()?;
        let is_number = (1..=digits).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| is_number)
    };
    let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
    (parts.next().is_none() && matches!(class, 2 | 4 | 5)).then(|| ((subject, detail), rest.trim_start()))
}

fn clean(text: &str) -> String {
    let line = |line: &str| -> String {
        line.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(LINE_BYTES_MAX).collect()
    };
    text.lines().take(LINES_MAX).map(line).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_texts() {
        let shown = |text: &str| refusal(text, (7, 1), "Refused").map(|reply| reply.to_string());
        for (text, expected) in [
            ("550 5.7.23 No", Some("550 5.7.23 No")),
            ("550 No", Some("550 5.7.1 No")),
            ("450 5.2.1 class", Some("450 4.2.1 class")),
            ("554", Some("554 5.7.1 Refused")),
            ("450 4.7.1", Some("450 4.7.1 Refused")),
            ("550-5.1.1 a\r\n550 5.1.1 b\r\n", Some("550 5.1.1 a\nb")),
            ("550-a\r\n551 b", None),
            ("550x", None),
            ("250 ok", None),
            ("55", None),
            ("5é0 x", None),
            ("550 caf\u{e9}\u{7}", Some("550 5.7.1 caf??")),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
        assert_eq!(reply(450, (7, 1), "4.7.1.2 x", "").to_string(), "450 4.7.1 4.7.1.2 x");
        assert!(refusal(&format!("550 {}", "x".repeat(2000)), (7, 1), "").unwrap().text.len() == LINE_BYTES_MAX);
    }
}
