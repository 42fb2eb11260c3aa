//! Medians, and how far the runs were apart.

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub minimum: f64,
    pub maximum: f64,
    pub runs: usize,
}

impl Spread {
    /// Not a number where there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let runs = values.len();
        let median = f64::midpoint(at(runs / 2), at(runs.saturating_sub(1) / 2));
        Self { median, minimum: at(0), maximum: at(runs.saturating_sub(1)), runs }
    }

    /// "median (minimum to maximum)".
    pub fn text(&self, digits: usize) -> String {
        if self.median.is_nan() {
            return "not measured".to_owned();
        }
        format!("{:.digits$} ({:.digits$} to {:.digits$})", self.median, self.minimum, self.maximum)
    }

    /// Null where nothing was measured.
    pub fn json(&self) -> Value {
        json!({ "median": self.median, "minimum": self.minimum, "maximum": self.maximum, "runs": self.runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { median: 2.5, minimum: 1.0, maximum: 4.0, runs: 4 });
        assert_eq!(Spread::of([7.0]).text(1), "7.0 (7.0 to 7.0)");
        assert_eq!(Spread::of([]).text(1), "not measured");
    }
}
