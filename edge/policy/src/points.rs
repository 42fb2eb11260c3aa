//! Points an administrator gives to what was found.

use postring_mail::verdict::Symbol;

/// More points than this, either way, decide more than any rule should.
const POINTS_MAX: f64 = 1000.0;

/// Says which points cannot be; `section` is where they stand.
///
/// # Errors
/// One line that says what would be right.
pub(crate) fn check(section: &str, points: &[f64]) -> Result<(), String> {
    if points.iter().all(|points| (-POINTS_MAX..=POINTS_MAX).contains(points)) {
        return Ok(());
    }
    Err(format!("{section}: points must be numbers between -{POINTS_MAX} and {POINTS_MAX}"))
}

/// A finding worth so many points.
pub(crate) fn symbol<'a>(name: &'a str, points: f64, detail: &'a str) -> Symbol<'a> {
    #[allow(clippy::cast_possible_truncation)] // bounded in this line
    let weight_milli = (points.clamp(-POINTS_MAX, POINTS_MAX) * 1000.0).round() as i32;
    Symbol { name, weight_milli, detail }
}
