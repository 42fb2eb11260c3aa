//! The key records of all signatures of a message, each asked for once.

use super::{Algorithm, Key, Problem};
use crate::Lookup;
use crate::together::together;
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rtype};

/// Key records that are tried, of those at one selector.
const KEYS_MAX: usize = 4;

/// What was answered for the names of keys.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'k> {
    /// Each once.
    names: &'k [Name],
    /// In their order; what is not there was not answered.
    answers: &'k [Resolved],
}

/// The names, each once.
pub(crate) fn distinct<'n>(wanted: impl Iterator<Item = &'n Name>) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::new();
    for name in wanted {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Asks for the records at all names, at the same time.
pub(crate) async fn ask(lookup: &impl Lookup, names: &[Name]) -> Vec<Resolved> {
    together(names.iter().map(|name| lookup.lookup(name, Rtype::TXT))).await
}

impl<'k> Keys<'k> {
    /// The answers for [`distinct`] names.
    pub const fn new(names: &'k [Name], answers: &'k [Resolved]) -> Self {
        Self { names, answers }
    }

    /// Tries the keys at a name until one `verifies`, which may end it with a problem that no key can change. Those of another kind, and those
    /// that are not `usable`, are passed over.
    ///
    /// # Errors
    /// The first problem with a key, or that the signature is not of one that could be used.
    pub fn judge(
        &self,
        name: &Name,
        algorithm: Algorithm,
        usable: impl Fn(&Key) -> Result<(), Problem>,
        mut verifies: impl FnMut(&Key) -> Result<bool, Problem>,
    ) -> Result<(), Problem> {
        let answer = self.names.iter().zip(self.answers).find(|(asked, _)| *asked == name).map(|(_, answer)| answer);
        //= RFC 6376 section 6.1.2
        //# If the query for the public key fails to respond, the Verifier MAY seek a later verification attempt by returning TEMPFAIL
        let answer = answer.filter(|answer| !answer.is_failure()).ok_or(Problem::KeyNotAnswered)?;
        //= RFC 6376 section 6.1.2
        //# If the query for the public key returns multiple key records, the Verifier can choose one of the key records or may cycle
        //# through the key records, performing the remainder of these steps on each record at the discretion of the implementer.
        let mut worst = Problem::NoKey;
        for rdata in answer.rdata(Rtype::TXT).take(KEYS_MAX) {
            let key = match read(rdata, algorithm).and_then(|key| usable(&key).map(|()| key)) {
                Ok(key) => key,
                Err(problem) => {
                    if worst == Problem::NoKey {
                        worst = problem;
                    }
                    continue;
                }
            };
            if verifies(&key)? {
                return Ok(());
            }
            worst = Problem::Signature;
        }
        Err(worst)
    }
}

fn read(rdata: &[u8], algorithm: Algorithm) -> Result<Key, Problem> {
    let key = Key::parse(&postring_dns::record::text(rdata))?;
    if key.fits(algorithm) {
        return Ok(key);
    }
    Err(Problem::KeyNotFor(match algorithm {
        Algorithm::RsaSha256 => "RSA (k= of its record)",
        Algorithm::Ed25519Sha256 => "Ed25519 (k= of its record)",
    }))
}
