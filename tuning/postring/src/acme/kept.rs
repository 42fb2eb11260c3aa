//! What outlives a restart: the account with the authority, and what failed last, so that a restart does not ask again at once.

use super::wanted::replace;
use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Time to the next try behind so many failures: five minutes, as the network may just have come up, then an hour, two, four, up to a day, which is
/// what limits of authorities leave.
pub(super) fn pause_seconds(failures: u32) -> i64 {
    match failures {
        0 | 1 => 300,
        more => 3600 * (1_i64 << (more - 2).min(5)).min(24),
    }
}

/// The files, which root alone can read.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
}

/// An account.
#[derive(Serialize, Deserialize)]
struct AccountFile {
    directory: String,
    credentials: AccountCredentials,
}

/// What is known of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempts {
    /// In a row.
    pub failures: u32,
    /// Not before this second since 1970.
    pub next_try: i64,
    /// What the last one ended with.
    pub error: Option<String>,
}

impl Kept {
    pub(super) fn new(data: &Path) -> Result<Self, String> {
        let folder = data.join("acme");
        let made = fs::create_dir_all(&folder)
            .and_then(|()| fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)));
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The account with this authority, if there is one.
    pub(super) fn account(&self, directory: &str) -> Option<AccountCredentials> {
        let text = fs::read_to_string(self.folder.join("account.json")).ok()?;
        let account: AccountFile = serde_json::from_str(&text).ok()?;
        (account.directory == directory).then_some(account.credentials)
    }

    pub(super) fn keep_account(&self, directory: &str, credentials: AccountCredentials) -> Result<(), String> {
        let account = AccountFile { directory: directory.to_owned(), credentials };
        let text = serde_json::to_string(&account).map_err(|error| error.to_string())?;
        replace(&self.folder.join("account.json"), &text, 0o600)
    }

    /// By the certificate's file.
    pub(super) fn attempts(&self) -> BTreeMap<PathBuf, Attempts> {
        let text = fs::read_to_string(self.folder.join("attempts.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub(super) fn keep_attempts(&self, attempts: &BTreeMap<PathBuf, Attempts>) -> Result<(), String> {
        let text = serde_json::to_string(attempts).map_err(|error| error.to_string())?;
        replace(&self.folder.join("attempts.json"), &text, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_kept_and_take_longer_each_time() {
        let data = tempfile::tempdir().unwrap();
        let kept = Kept::new(data.path()).unwrap();
        assert!(kept.attempts().is_empty() && kept.account("https://a").is_none());
        let attempts = [(PathBuf::from("c"), Attempts { failures: 2, next_try: 7, error: Some("x".into()) })].into();
        kept.keep_attempts(&attempts).unwrap();
        assert_eq!(Kept::new(data.path()).unwrap().attempts(), attempts);
        assert_eq!([1, 2, 3, 7, 100].map(pause_seconds), [300, 3600, 7200, 86_400, 86_400]);
    }
}
