//! What all lists together say of one client, and what that means for its mail.

use super::Listing;
use crate::PolicyConfig;
use postring_mail::Reply;
use postring_mail::verdict::Symbol;
use std::net::IpAddr;
use std::sync::Arc;

/// Zones named in a refusal: a reply is a line.
const ZONES_MAX: usize = 3;

/// One list's listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The list.
    pub zone: Arc<str>,
    /// What it says.
    pub listing: Listing,
}

/// What the lists say of a client; without listings nothing is known against it, nor for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reputation {
    listings: Vec<Listed>,
}

impl Reputation {
    /// Adds what a list says.
    pub fn add(&mut self, zone: &Arc<str>, listing: Listing) {
        self.listings.push(Listed { zone: Arc::clone(zone), listing });
    }

    /// True if no list has the client.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listings.is_empty()
    }

    /// The sum of the points.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.listings.iter().map(|listed| listed.listing.weight).sum()
    }

    /// The refusal of the client's recipients, if the lists have enough against it.
    #[must_use]
    pub fn refusal(&self, config: &PolicyConfig, client: IpAddr) -> Option<Reply> {
        if self.is_empty() || self.score() < config.dnsbl_reject_score {
            return None;
        }
        let against = self.listings.iter().filter(|listed| listed.listing.weight > 0.0);
        let zones: Vec<&str> = against.map(|listed| &*listed.zone).take(ZONES_MAX).collect();
        let text = config.dnsbl_reject_text.replace("{address}", &client.to_canonical().to_string());
        let text = text.replace("{lists}", &zones.join(", "));
        // The same code our own lists answer at connect.
        Some(Reply::with_text(554, 7, 1, config.with_link(&text)))
    }

    /// The listings as findings beside the scanner's.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.listings.iter().map(|Listed { zone, listing }| Symbol {
            name: &listing.symbol,
            weight_milli: milli(listing.weight),
            detail: zone,
        })
    }
}

/// Thousandths; the configuration bounds a weight by 1000 points.
fn milli(weight: f64) -> i32 {
    #[allow(clippy::cast_possible_truncation)] // bounded just here
    let milli = (weight * 1000.0).clamp(-1_000_000.0, 1_000_000.0).round() as i32;
    milli
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reputation(weights: &[(&str, f64)]) -> Reputation {
        let mut reputation = Reputation::default();
        for (zone, weight) in weights {
            let listing = Listing { code: [127, 0, 0, 2].into(), weight: *weight, symbol: "X".into() };
            reputation.add(&Arc::from(*zone), listing);
        }
        reputation
    }

    #[test]
    fn lists_add_up_and_good_ones_take_away() {
        let config = PolicyConfig::default();
        let client: IpAddr = [192, 0, 2, 7].into();
        let refusal = |weights: &[(&str, f64)]| reputation(weights).refusal(&config, client).map(|reply| reply.to_string());
        assert_eq!(refusal(&[]), None);
        assert_eq!(refusal(&[("a.example", 3.0)]), None);
        assert_eq!(refusal(&[("a.example", 3.0), ("b.example", 3.0), ("good.example", -2.0)]), None);
        let text = refusal(&[("a.example", 3.0), ("b.example", 3.0), ("good.example", -1.0)]).unwrap();
        assert_eq!(text, "554 5.7.1 Client [192.0.2.7] is listed by a.example, b.example; ask there to be taken off");
        // Without lists a threshold of nothing refuses nobody.
        let all = PolicyConfig { dnsbl_reject_score: -1.0, ..PolicyConfig::default() };
        assert_eq!(reputation(&[]).refusal(&all, client), None);
    }

    #[test]
    fn listings_are_symbols() {
        let reputation = reputation(&[("a.example", 2.5), ("good.example", -1.0)]);
        let symbols: Vec<(i32, &str)> = reputation.symbols().map(|symbol| (symbol.weight_milli, symbol.detail)).collect();
        assert_eq!(symbols, [(2500, "a.example"), (-1000, "good.example")]);
    }
}
