//! What `postring check` says of the certificates' files.

use super::certificate::{Certificate, key_sha256};
use super::config::Tls;
use super::entry::Entry;
use postring_transport::tls::names::covers;

/// What `postring check` says: what is wrong, and what is only worth knowing.
pub fn check(settings: &Tls, hostname: &str, now: i64) -> (Vec<String>, Vec<String>) {
    let (mut wrong, mut notes) = (Vec::new(), Vec::new());
    let own = settings.certificate.iter().zip(&settings.key).map(|(certificate, key)| (certificate, key, Vec::new()));
    let others = settings.name.iter().map(|of| (&of.certificate, &of.key, of.names.clone()));
    for (at, (certificate, key, names)) in own.chain(others).enumerate() {
        match Certificate::read(certificate, key) {
            Err(why) => wrong.push(why),
            Ok(read) => {
                let place = certificate.display();
                if at == 0 && !read.names.iter().any(|pattern| covers(pattern, hostname)) {
                    notes.push(format!("tls: {place}: the certificate does not have this host's name, {hostname}"));
                }
                if read.is_alone {
                    notes.push(format!(
                        "tls: {place}: the certificate of the authority that signed it is missing: programs that look will not believe it; \
                         give the whole chain (certbot: fullchain.pem)"
                    ));
                }
                let (mut entry, expired) = (Entry::of(certificate, key, names), read.invalid(now).is_some());
                entry.in_force = Some(read);
                wrong.extend(entry.uncovered());
                if expired { &mut wrong } else { &mut notes }.extend(entry.warning(now));
            }
        }
    }
    if let Some(next) = &settings.next_key {
        wrong.extend(key_sha256(next).err());
    }
    (wrong, notes)
}
