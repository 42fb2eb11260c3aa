//! Moments of signatures: 32 bits of seconds since 1970, written `YYYYMMDDHHMMSS` in UTC or as a number (RFC 4034 section 3.2).

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// Reads a moment.
pub(super) fn parse(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if text.len() != 14 {
        return text.parse().ok();
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !in_range || year < 1970 {
        return None;
    }
    // Serial arithmetic: the field wraps in 2106 (RFC 4034 section 3.1.5).
    u32::try_from((days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) & 0xffff_ffff).ok()
}

/// Writes a moment.
pub(super) fn text(seconds: u32) -> String {
    let (day, second) = (i64::from(seconds / 86_400), seconds % 86_400);
    // The year is guessed from below, then the month from its first day.
    let mut year = 1970 + day / 366;
    while days(year + 1, 1, 1) <= day {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day).unwrap_or(1);
    let in_month = day - days(year, month, 1) + 1;
    format!("{year:04}{month:02}{in_month:02}{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn moments() {
        for (text, seconds) in [
            ("19700101000000", 0),
            ("20040409183619", 1_081_535_779),
            ("20000229235959", 951_868_799),
            ("20240301000000", 1_709_251_200),
            ("21060207062815", u32::MAX),
        ] {
            assert_eq!((super::parse(text), super::text(seconds).as_str()), (Some(seconds), text));
        }
        assert_eq!(
            (super::parse("1081535779"), super::parse("20041309000000"), super::parse("x")),
            (Some(1_081_535_779), None, None)
        );
    }

    proptest::proptest! {
        #[test]
        fn both_ways(seconds: u32) { proptest::prop_assert_eq!(super::parse(&super::text(seconds)), Some(seconds)); }
    }
}
