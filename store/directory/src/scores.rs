//! From how many points on a message is spam for one account.

/// Points an administrator may give, either way.
const SCORE_MAX: f64 = 1000.0;
/// In a snapshot a score is a number of tenths in 16 bits; this one is none.
const NONE: i16 = i16::MIN;

/// What holds for one account instead of what holds for all; `None`: the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// From this score on a message goes to the Junk folder.
    pub junk: Option<f64>,
    /// From this score on it is refused.
    pub reject: Option<f64>,
}

impl Scores {
    /// True if nothing differs.
    #[must_use]
    pub fn are_default(&self) -> bool {
        self.junk.is_none() && self.reject.is_none()
    }

    /// Says what cannot be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let given = [self.junk, self.reject].into_iter().flatten();
        match given.into_iter().find(|score| !(-SCORE_MAX..=SCORE_MAX).contains(score)) {
            Some(score) => Err(format!("{score} is no score; give a number from -{SCORE_MAX} to {SCORE_MAX}")),
            None => Ok(()),
        }
    }

    /// Four octets of a snapshot's account.
    pub(crate) fn to_octets(self) -> [u8; 4] {
        let [low, high] = tenths(self.junk).to_le_bytes();
        let [third, fourth] = tenths(self.reject).to_le_bytes();
        [low, high, third, fourth]
    }

    pub(crate) fn from_octets(octets: [u8; 4]) -> Self {
        let [low, high, third, fourth] = octets;
        let score = |octets| match i16::from_le_bytes(octets) {
            NONE => None,
            tenths => Some(f64::from(tenths) / 10.0),
        };
        Self { junk: score([low, high]), reject: score([third, fourth]) }
    }
}

fn tenths(score: Option<f64>) -> i16 {
    #[allow(clippy::cast_possible_truncation)] // bounded in this line
    score.map_or(NONE, |score| (score.clamp(-SCORE_MAX, SCORE_MAX) * 10.0).round() as i16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_kept_in_tenths() {
        for scores in [
            Scores::default(),
            Scores { junk: Some(4.5), reject: None },
            Scores { junk: Some(-0.1), reject: Some(1000.0) },
            Scores { junk: None, reject: Some(0.0) },
        ] {
            assert_eq!(Scores::from_octets(scores.to_octets()), scores);
            assert!(scores.check().is_ok());
        }
        for score in [f64::NAN, 1000.1, f64::NEG_INFINITY] {
            assert!(Scores { junk: Some(score), reject: None }.check().is_err());
        }
    }
}
