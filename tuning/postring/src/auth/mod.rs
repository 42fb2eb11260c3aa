//! `postring auth`: what the checks of the sender say of a message.

mod arc;
mod arguments;
mod dkim;
mod dmarc;
mod lookup;
mod message;
mod organization;
mod spf;

pub use arguments::AuthAction;

use crate::config::Config;

/// Runs a command; `load` reads the configuration, which none needs.
pub fn run(action: &AuthAction, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    match action {
        AuthAction::Arc(question) => arc::run(question, load),
        AuthAction::Dkim(question) => dkim::run(question, load),
        AuthAction::Dmarc(question) => dmarc::run(question, load),
        AuthAction::OrgDomain(question) => organization::run(question, load),
        AuthAction::Spf(question) => spf::run(question, load),
    }
}
