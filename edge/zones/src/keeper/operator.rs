//! The operator's commands: `postring dns zone ...` and `postring block ...`, as words.

use super::kept::{Kept, Kind, zone_of};
use super::{Answer, Keeper};
use postring_dns::list::{Entry, Key, Scope, Verdict, decode_changes};
use postring_dns::{Name, Service};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Entries of one answer; a list may have a million.
const ENTRIES_SHOWN_MAX: usize = 400;
/// Services of one answer.
const SERVICES_SHOWN_MAX: usize = 300;

impl Keeper {
    pub(super) fn operator(&mut self, words: &[String]) -> Answer {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["dns", "zone", "list"] => Ok(self.list()),
            ["dns", "zone", "reload"] => {
                let config = self.config.clone();
                let before = self.kept.len();
                self.configure(config, false).map_err(|errors| errors.join("\n"))?;
                Ok(json!({ "services": before }))
            }
            ["dns", "zone", "reload", name] => self.reload(&parse(name)?),
            ["dns", "zone", "sign", name] => {
                let (origin, now) = (parse(name)?, self.now());
                self.signing(&origin)?.forget_signatures();
                self.sign(&origin, now)?;
                self.keys_of(&origin)
            }
            ["dns", "zone", "keys", name] => self.keys_of(&parse(name)?),
            ["dns", "zone", "roll", name] => {
                let (origin, now) = (parse(name)?, self.now());
                self.signing(&origin)?.roll(now)?;
                self.sign(&origin, now)?;
                self.keys_of(&origin)
            }
            ["dns", "zone", "ds-seen", name] => {
                let (origin, now) = (parse(name)?, self.now());
                self.signing(&origin)?.ds_seen(now)?;
                self.sign(&origin, now)?;
                self.keys_of(&origin)
            }
            ["dns", "challenge", name, values @ ..] => self.challenge(name, values),
            ["block", "change", list, lines] => self.change_list(list, lines),
            ["block", "list", list] => self.show_list(list),
            _ => Err(format!("edge does not know \"{}\"", words.join(" "))),
        }
    }

    fn list(&self) -> Value {
        let now = self.now();
        let shown: Vec<Value> = self.kept.values().take(SERVICES_SHOWN_MAX).map(|kept| describe(kept, now)).collect();
        json!({ "total": self.kept.len(), "services": shown })
    }

    fn reload(&mut self, origin: &Name) -> Answer {
        let now = self.now();
        let kept = self
            .kept
            .get_mut(origin)
            .ok_or_else(|| format!("{origin} is not served here; `postring dns zone list` shows what is"))?;
        match kept.kind.clone() {
            Kind::Domain { .. } => return Err(format!("{origin} is made from the directory; there is no file to read again")),
            Kind::Secondary(config) => {
                // As if each primary had said that there is something new.
                if let (Some(secondary), Some(primary)) = (&mut kept.secondary, config.primaries.first()) {
                    secondary.handle_notify(primary.ip(), None, now);
                }
                self.poll_secondary(origin, now);
            }
            kind => {
                let loaded = Kept::load(origin, &kind, self.kept.get(origin), &self.state, &mut self.blocks, now);
                crate::memory::release();
                self.put(loaded.map_err(|error| format!("{error} (what was served before is served on)"))?);
                self.notify_secondaries(origin);
            }
        }
        self.kept.get(origin).map(|kept| describe(kept, now)).ok_or_else(|| format!("{origin} is gone"))
    }

    fn signing(&mut self, origin: &Name) -> Result<&mut crate::signing::Signing, String> {
        let kept = self.kept.get_mut(origin).ok_or_else(|| format!("{origin} is not served here"))?;
        kept.signing.as_mut().ok_or_else(|| {
            format!("{origin} is not signed; set dnssec = \"nsec\" in its [[dns.zone]], then `postring reload` makes its keys and signs it")
        })
    }

    fn keys_of(&mut self, origin: &Name) -> Answer {
        let now = self.now();
        Ok(json!({ "zone": origin.to_string(), "status": self.signing(origin)?.status(now) }))
    }

    fn change_list(&mut self, list: &str, lines: &str) -> Answer {
        let origin = self.find_list(list)?;
        let mut changes = Vec::new();
        let decoded = decode_changes(lines.as_bytes(), &mut |_, change| changes.push(change));
        if decoded.damaged > 0 || decoded.good_bytes < lines.len() {
            return Err("the changes were damaged on their way; nothing was changed".to_owned());
        }
        let count = changes.len();
        self.blocks.apply(&origin, changes, &self.state)?;
        Ok(json!({ "list": origin.to_string(), "changes": count }))
    }

    fn show_list(&mut self, list: &str) -> Answer {
        let origin = self.find_list(list)?;
        let overlay = self.blocks.overlay(&origin);
        let entries: Vec<Value> = overlay.iter(self.now()).take(ENTRIES_SHOWN_MAX).map(|entry| entry_json(&entry)).collect();
        Ok(json!({ "list": origin.to_string(), "total": overlay.len(), "entries": entries }))
    }

    /// The list of a name; "" or "names" stand for the first that lists addresses or names.
    fn find_list(&self, list: &str) -> Result<Name, String> {
        let wanted = |addresses: bool| {
            let mut lists = self.config.block_list.iter().filter(|list| list.kind.lists_addresses() == addresses);
            lists.next().and_then(|list| Name::absolute(&list.name).ok()).map(|name| name.to_key())
        };
        let missing = |what: &str| {
            format!("there is no [[dns.block_list]] of {what} in the configuration; make one, its file may be empty")
        };
        match list {
            "addresses" => wanted(true).ok_or_else(|| missing("addresses (kind = \"ip4set\")")),
            "names" => wanted(false).ok_or_else(|| missing("names (kind = \"dnset\")")),
            name => {
                let origin = parse(name)?;
                let is_list = self.kept.get(&origin).is_some_and(|kept| matches!(kept.kind, Kind::List(_)));
                is_list.then_some(origin).ok_or_else(|| format!("{name} is no block list of this server"))
            }
        }
    }
}

fn parse(name: &str) -> Result<Name, String> {
    Name::absolute(name).map(|name| name.to_key()).map_err(|error| format!("\"{name}\": {error}"))
}

fn describe(kept: &Kept, now: u64) -> Value {
    let zone = zone_of(&kept.service);
    let entries = match &*kept.service {
        Service::List(list) => {
            let size = list.size();
            Some(size.addresses + size.steps + size.names)
        }
        Service::Zone(zone) => Some(zone.record_count()),
        Service::Broken => None,
    };
    json!({
        "name": kept.origin.to_string(),
        "kind": kept.kind.word(),
        "state": match (&*kept.service, &kept.error) {
            (Service::Broken, _) => "broken",
            (_, Some(_)) => "old",
            _ => "served",
        },
        "serial": zone.map(|zone| zone.serial()),
        "entries": entries,
        "signed": kept.signing.is_some(),
        "resign_in_seconds": kept.signing.as_ref().map(|signing| signing.resign_at.saturating_sub(now)),
        "error": kept.error,
    })
}

fn entry_json(entry: &Entry) -> Value {
    let what = match &entry.key {
        Key::Ip4(network, 32) => Ipv4Addr::from(*network).to_string(),
        Key::Ip4(network, length) => format!("{}/{length}", Ipv4Addr::from(*network)),
        Key::Ip6(network, 128) => Ipv6Addr::from(*network).to_string(),
        Key::Ip6(network, length) => format!("{}/{length}", Ipv6Addr::from(*network)),
        Key::Name(name, scope) => {
            let mut text = if *scope == Scope::Below { "*.".to_owned() } else { String::new() };
            // Writing to a String cannot fail.
            let _ = postring_dns::name::write_text(name, &mut text);
            text.trim_end_matches('.').to_owned()
        }
    };
    let value = match entry.verdict {
        Verdict::Listed(address) => Some(address.to_string()),
        Verdict::Hidden => None,
    };
    json!({
        "what": what, "value": value, "text": &*entry.text, "expires": entry.expires, "made": entry.made, "by": &*entry.by, "why": &*entry.why,
    })
}
