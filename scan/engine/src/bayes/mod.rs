//! A Bayesian classifier: which words stand in spam, which in ham.
//!
//! Token probabilities by Robinson ("A Statistical Approach to the Spam Problem", Linux Journal 2003), combined by Fisher's method, as
//! bogofilter and SpamAssassin do; tokens are words and pairs of neighbours.

mod learn;
mod store;
mod tokens;

pub use learn::{Class, LearnReport, Progress, learn};
#[doc(hidden)]
pub use store::fuzz_token_store;
pub use store::{StoreError, TokenStore};
pub use tokens::Tokenizer;
#[doc(hidden)]
pub use tokens::fuzz_tokens;

use crate::{Content, Engine};
use postring_mail::verdict::{Symbol, VerdictWriter};

/// Messages of each class that must be learned before the classifier says anything.
const LEARNED_MIN: u32 = 50;
/// Tokens of a message that decide, the most telling ones.
const DECIDING: usize = 120;
/// A token's probability must differ from one half by this much to count.
const TELLING_MIN: f64 = 0.1;
/// Robinson's `s`: how much an unseen token's assumed probability (one half) weighs against what was counted.
const STRENGTH: f64 = 0.45;

/// Tokens whose places are fetched from memory at once, before each is looked at.
const TOUCHED: usize = 32;

/// The engine; its store is swapped when a newer one is learned.
#[derive(Debug)]
pub struct Bayes {
    store: TokenStore,
    tokenizer: Tokenizer,
    deciding: Vec<f64>,
}

impl Bayes {
    /// Over a store.
    #[must_use]
    pub fn new(store: TokenStore) -> Self {
        Self { store, tokenizer: Tokenizer::default(), deciding: Vec::new() }
    }

    /// The probability that the message is spam; `None` while too little is learned.
    pub fn spam_probability(&mut self, content: &Content<'_>) -> Option<f64> {
        let (spam_messages, ham_messages) = (self.store.spam_messages(), self.store.ham_messages());
        if spam_messages.min(ham_messages) < LEARNED_MIN {
            return None;
        }
        self.deciding.clear();
        let (store, deciding) = (&self.store, &mut self.deciding);
        for tokens in self.tokenizer.tokens(content).chunks(TOUCHED) {
            store.touch(tokens);
            for token in tokens {
                let Some((spam, ham)) = store.counts(*token) else { continue };
                let (in_spam, in_ham) = (f64::from(spam) / f64::from(spam_messages), f64::from(ham) / f64::from(ham_messages));
                let seen = f64::from(spam) + f64::from(ham);
                let probability = (STRENGTH * 0.5 + seen * (in_spam / (in_spam + in_ham))) / (STRENGTH + seen);
                if (probability - 0.5).abs() >= TELLING_MIN {
                    deciding.push(probability);
                }
            }
        }
        deciding.sort_unstable_by(|a, b| (b - 0.5).abs().total_cmp(&(a - 0.5).abs()));
        deciding.truncate(DECIDING);
        if deciding.is_empty() {
            return Some(0.5);
        }
        #[allow(clippy::cast_precision_loss)] // at most DECIDING
        let count = deciding.len() as f64;
        let spamminess = 1.0 - chi_square(-2.0 * deciding.iter().map(|p| (1.0 - p).max(1e-9).ln()).sum::<f64>(), count);
        let hamminess = 1.0 - chi_square(-2.0 * deciding.iter().map(|p| p.max(1e-9).ln()).sum::<f64>(), count);
        Some((1.0 + spamminess - hamminess) / 2.0)
    }
}

/// The probability that chi-square with `2 * half_degrees` degrees of freedom is at least `value`.
fn chi_square(value: f64, half_degrees: f64) -> f64 {
    let half = value / 2.0;
    let mut term = (-half).exp();
    let mut sum = term;
    let mut step = 1.0;
    while step < half_degrees {
        term *= half / step;
        sum += term;
        step += 1.0;
    }
    sum.min(1.0)
}

impl Engine for Bayes {
    fn name(&self) -> &'static str {
        "bayes"
    }

    fn judge(&mut self, content: &Content<'_>, verdict: &mut VerdictWriter) {
        let Some(probability) = self.spam_probability(content) else { return };
        let detail = format!("{probability:.3}");
        #[allow(clippy::cast_possible_truncation)] // between 0 and 6000
        if probability >= 0.6 {
            let weight_milli = (((probability - 0.5) * 2.0).powi(2) * 6500.0) as i32;
            verdict.push(Symbol { name: "BAYES_SPAM", weight_milli, detail: &detail });
        } else if probability <= 0.4 {
            let weight_milli = (((0.5 - probability) * 2.0).powi(2) * 3000.0) as i32;
            verdict.push(Symbol { name: "BAYES_HAM", weight_milli: -weight_milli, detail: &detail });
        }
    }
}
