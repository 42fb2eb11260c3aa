//! Challenges of an authority for certificates (RFC 8555 section 8.4): TXT records that are there while it looks.
//!
//! The zone of a domain of the directory is made with them. A zone from a file gets them by an update, if its administrator lets it be updated: then
//! its versions are counted here anyway. One that is not is his alone.

use super::kept::Kind;
use super::{Answer, Keeper};
use postring_dns::update::Update;
use postring_dns::{Name, Rcode};
use serde_json::json;

/// Seconds an answer may be kept: as short as a challenge lives.
const TTL_SECONDS: u32 = 1;
/// Octets of a value: base64 of a SHA-256 has 43.
const VALUE_BYTES_MAX: usize = 255;
/// Values at a time.
const CHALLENGES_MAX: usize = 1000;

impl Keeper {
    /// `dns challenge NAME VALUE...`: these are all there are of that name. What it says is done is served.
    pub(super) fn challenge(&mut self, name: &str, values: &[&str]) -> Answer {
        let owner = Name::absolute(name).map_err(|error| format!("{name}: {error}"))?.to_key();
        let is_value = |value: &&&str| {
            value.len() <= VALUE_BYTES_MAX
                && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if let Some(wrong) = values.iter().find(|value| !is_value(value)) {
            return Err(format!("{name}: {wrong:?} is no challenge"));
        }
        if self.challenges.len() + values.len() > CHALLENGES_MAX {
            return Err(format!("{CHALLENGES_MAX} challenges are enough at a time"));
        }
        let within = |origin: &&Name| {
            let (owner, origin) = (owner.to_string(), origin.to_string());
            crate::template::is_within(&owner, &origin)
        };
        let origin = self.kept.keys().filter(within).max_by_key(|origin| origin.wire().len()).cloned();
        let origin = origin.ok_or_else(|| format!("no zone served here has the name {name}: use the challenge http-01"))?;
        let now = self.now();
        match self.kept.get(&origin).map(|kept| &kept.kind) {
            Some(Kind::Domain { .. }) => {
                let name = owner.to_string();
                self.challenges.retain(|(other, _)| *other != name);
                self.challenges.extend(values.iter().map(|value| (name.clone(), (*value).to_owned())));
                self.challenges_changed = now;
                self.make_domains();
            }
            Some(Kind::Primary(config)) if !config.update_keys.is_empty() => {
                let update = Update::of_texts(&origin, &owner, TTL_SECONDS, values);
                let rcode = self.update(&update, super::change::By::Ourselves, now);
                if rcode != Rcode::NOERROR {
                    return Err(format!("{origin}: the challenge could not be added: {rcode}"));
                }
            }
            _ => {
                return Err(format!(
                    "the zone {origin} is not made here and may not be updated (update_keys): use the challenge http-01"
                ));
            }
        }
        Ok(json!({ "zone": origin.to_string(), "values": values.len() }))
    }
}
