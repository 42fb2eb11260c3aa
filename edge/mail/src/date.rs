//! The date-time of header fields (RFC 5322 section 3.3), written without a calendar library.

use std::io::Write;

/// Writes a date-time in UTC: `Mon, 23 Nov 2026 21:04:00 +0000`.
pub fn write_date(unix_seconds: u64, out: &mut Vec<u8>) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil(days);
    let name = |names: &[&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or("???")
    };
    let _ = write!(
        out,
        "{}, {} {} {:04} {:02}:{:02}:{:02} +0000",
        name(&DAYS, days % 7),
        day,
        name(&MONTHS, month - 1),
        year,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
}

/// The day of a moment in UTC: `2026-11-23`.
#[must_use]
pub fn day(unix_seconds: u64) -> String {
    let (year, month, day) = civil(unix_seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates() {
        assert_eq!(text(|out| write_date(0, out)), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(text(|out| write_date(951_782_399, out)), "Mon, 28 Feb 2000 23:59:59 +0000");
        assert_eq!(text(|out| write_date(951_782_400, out)), "Tue, 29 Feb 2000 00:00:00 +0000");
        assert_eq!(text(|out| write_date(1_795_467_845, out)), "Mon, 23 Nov 2026 21:04:05 +0000");
    }
}
