//! Times as DNSSEC writes them: `YYYYMMDDHHmmSS`, in UTC (RFC 4034 section 3.2).

const DAY_SECONDS: u64 = 86_400;
/// The end of the year 9999: later times have no such form.
const STAMP_MAX: u64 = 253_402_300_799;

/// Writes seconds since 1970.
#[must_use]
pub fn stamp(time: u64) -> String {
    let time = time.min(STAMP_MAX);
    let (day, second) = (time / DAY_SECONDS, time % DAY_SECONDS);
    // Days since 1 March of the year 0, so that the leap day is the last of its year; 400 years have 146,097 days.
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day_of_month:02}{hour:02}{minute:02}{second:02}")
}

/// Reads what [`stamp`] writes. `None`: it is no time, or before 1970.
#[must_use]
pub fn parse_stamp(text: &str) -> Option<u64> {
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day_of_month) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || day_of_month < 1 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let shifted_year = year - u64::from(month <= 2);
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day_of_month - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let day = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    let time = day * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    // The 31st of a month that has 30 days would be another date's.
    (stamp(time) == text).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates() {
        for (time, text) in [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (1_078_106_400, "20040301020000"),
            // The example of RFC 4034 section 3.3.
            (1_048_354_263, "20030322173103"),
            (4_294_967_295, "21060207062815"),
        ] {
            assert_eq!((stamp(time).as_str(), parse_stamp(text)), (text, Some(time)));
        }
        for wrong in
            ["", "20260230000000", "20261301000000", "19691231235959", "2026010100000a", "20260101246000", "+2026010100000"]
        {
            assert_eq!(parse_stamp(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn both_ways(time in 0..=STAMP_MAX) {
            prop_assert_eq!(parse_stamp(&stamp(time)), Some(time));
        }
    }
}
