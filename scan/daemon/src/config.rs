//! What an administrator can set of the scanner. The doc comment of a field is its manual.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[scan]`: the content scanner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// Scan with the YARA rules of `rules`. Default true.
    pub yara: bool,
    /// Folder of rule files, `*.yar` and `*.yara`; changes are seen within seconds, a broken rule leaves the old ones in force. Default
    /// "rules" in the data folder.
    pub rules: PathBuf,
    /// Classify by learned words (`postring learn`). Default true; it is silent until 50 messages of each kind are learned.
    pub bayes: bool,
    /// The store of learned words. Default "bayes.tokens" in the data folder.
    pub tokens: PathBuf,
    /// Milliseconds one YARA scan may take before it counts as partial. Default 3000.
    pub yara_timeout_ms: u64,
}

impl Default for ScanConfig {
    fn default() -> Self {
        Self { yara: true, rules: "rules".into(), bayes: true, tokens: "bayes.tokens".into(), yara_timeout_ms: 3000 }
    }
}

impl ScanConfig {
    /// Says what does not fit together.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(100..=60_000).contains(&self.yara_timeout_ms) {
            return Err(format!("scan.yara_timeout_ms = {}: give a number from 100 to 60000", self.yara_timeout_ms));
        }
        Ok(())
    }
}
