//! The SQLite side: what `postring domain|account|alias` write and the supervisor reads.

use crate::dkim::DkimKey;
use crate::scores::Scores;
use postring_mail::path;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The schema's version; another is refused.
const VERSION: i64 = 3;
const SCHEMA: &str = concat!(include_str!("schema.sql"), include_str!("schema-2.sql"), include_str!("schema-3.sql"));
/// From each version, the first is 1, to the next.
const MIGRATIONS: [&str; 2] = [
    concat!("ALTER TABLE domains ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;", include_str!("schema-2.sql")),
    include_str!("schema-3.sql"),
];

/// The open database.
#[derive(Debug)]
pub struct Directory {
    connection: Connection,
    path: PathBuf,
}

/// What went wrong, as a line that says what to do.
#[derive(Debug)]
pub enum DirectoryError {
    /// The request cannot be done as asked.
    Refused(String),
    /// The database itself.
    Database(String),
}

impl std::fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Refused(text) | Self::Database(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for DirectoryError {}

impl From<rusqlite::Error> for DirectoryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "the directory's database: the disk is full; free some space and try again".to_owned(),
            Some(ErrorCode::DatabaseBusy) => "the directory's database is locked by another program; try again".to_owned(),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                "the directory's database cannot be written by this user".to_owned()
            }
            _ => format!("the directory's database: {error}"),
        })
    }
}

/// An account as it stands in the database.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountRow {
    /// Never used twice.
    pub id: u64,
    /// Before the @, lower-cased.
    pub local_part: String,
    /// Behind the @, lower-cased.
    pub domain: String,
    /// `{SCHEME}text`.
    pub password_hash: String,
    /// 0: none.
    pub quota_bytes: u64,
    /// Takes mail and may log in.
    pub enabled: bool,
    /// Its own, or its domain's.
    pub scores: Scores,
}

/// One target of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasRow {
    /// Before the @; empty for the domain's catch-all.
    pub local_part: String,
    /// Behind the @.
    pub domain: String,
    /// An address.
    pub target: String,
}

/// What a hosted domain's zone needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainRow {
    /// Lower-cased.
    pub name: String,
    /// Seconds since 1970: its last change.
    pub changed: u64,
    /// Selectors and TXT records of its DKIM keys.
    pub dkim: Vec<(String, String)>,
}

type Result<T> = std::result::Result<T, DirectoryError>;

fn refused<T>(text: String) -> Result<T> {
    Err(DirectoryError::Refused(text))
}

impl Directory {
    /// Makes a new database.
    ///
    /// # Errors
    /// The file exists already, or cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        if path.exists() {
            return refused(format!("{} exists already; nothing was changed", path.display()));
        }
        let connection = Connection::open(path)?;
        let directory = Self { connection, path: path.to_owned() };
        directory.prepare()?;
        directory.connection.execute_batch(&format!("BEGIN;{SCHEMA}PRAGMA user_version = {VERSION};COMMIT;"))?;
        Ok(directory)
    }

    /// Opens a database that exists.
    ///
    /// # Errors
    /// It does not exist, is of another version, or cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            return refused(format!("{} does not exist; `postring init` makes a data folder", path.display()));
        }
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        let directory = Self { connection, path: path.to_owned() };
        directory.prepare()?;
        let version = || directory.connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        if (1..VERSION).contains(&version()?) {
            directory.migrate()?;
        }
        let version = version()?;
        if version != VERSION {
            return refused(format!(
                "{} is of version {version}, this program works with version {VERSION}; use the postring that made it",
                directory.path.display()
            ));
        }
        Ok(directory)
    }

    /// From an older version, in one transaction; what has been done meanwhile by another program is left as it is.
    fn migrate(&self) -> Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let version: i64 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let done = usize::try_from(version - 1).ok().and_then(|first| MIGRATIONS.get(first..)).unwrap_or_default();
        let done =
            self.connection.execute_batch(&format!("{}PRAGMA user_version = {};COMMIT", done.concat(), version.max(VERSION)));
        if done.is_err() {
            // The first error is the one to say.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        Ok(done?)
    }

    fn prepare(&self) -> Result<()> {
        self.connection.busy_timeout(Duration::from_secs(5))?;
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "foreign_keys", true)?;
        Ok(())
    }

    /// Grows with every change of the content.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn change_sequence(&self) -> Result<u64> {
        let sequence: i64 = self.connection.query_row("SELECT sequence FROM change", [], |row| row.get(0))?;
        Ok(u64::try_from(sequence).unwrap_or(0))
    }

    /// Hosts a domain.
    ///
    /// # Errors
    /// Not a domain's name, or hosted already.
    pub fn domain_add(&self, name: &str) -> Result<()> {
        let name = name.to_ascii_lowercase();
        if !path::is_domain(&name) {
            return refused(format!("\"{name}\" is no domain name; give something like example.org (IDN in its xn-- form)"));
        }
        let added = self
            .connection
            .execute("INSERT OR IGNORE INTO domains (name, changed) VALUES (?1, ?2)", params![name, unix_seconds()])?;
        if added == 0 { refused(format!("the domain {name} is hosted already")) } else { Ok(()) }
    }

    /// Gives a domain a DKIM key; one with the same selector is replaced.
    ///
    /// # Errors
    /// No such domain.
    pub fn dkim_key_add(&self, domain: &str, key: &DkimKey) -> Result<()> {
        let domain_id = self.domain_id(&domain.to_ascii_lowercase())?;
        self.connection.execute(
            "INSERT OR REPLACE INTO dkim_keys (domain_id, selector, algorithm, private_key, record) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![domain_id, key.selector, key.algorithm.name(), key.private_key_pem, key.record],
        )?;
        self.connection.execute("UPDATE domains SET changed = ?2 WHERE id = ?1", params![domain_id, unix_seconds()])?;
        Ok(())
    }

    /// What the domains' zones need, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn domain_records(&self) -> Result<Vec<DomainRow>> {
        let mut statement = self.connection.prepare(
            "SELECT name, changed, selector, record FROM domains LEFT JOIN dkim_keys ON domain_id = id ORDER BY name, selector",
        )?;
        let mut rows = statement.query([])?;
        let mut domains: Vec<DomainRow> = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            if domains.last().is_none_or(|last| last.name != name) {
                let changed = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
                domains.push(DomainRow { name, changed, dkim: Vec::new() });
            }
            if let (Some(last), Some(selector), Some(record)) = (domains.last_mut(), row.get(2)?, row.get(3)?) {
                last.dkim.push((selector, record));
            }
        }
        Ok(domains)
    }

    /// Adds an account of a hosted domain; `password_hash` from [`crate::hash_password`]. Gives its id.
    ///
    /// # Errors
    /// Not an address, no such domain, or an account or alias of that name is there.
    pub fn account_add(&self, address: &str, password_hash: &str, quota_bytes: u64) -> Result<u64> {
        let (local_part, domain) = split_address(address)?;
        let domain_id = self.domain_id(&domain)?;
        // The local part becomes a folder's name.
        if local_part.contains(['/', '\0', '"']) || local_part.starts_with('.') {
            return refused(format!("\"{local_part}\" cannot be a mailbox's name: no slash, no quote, no dot in front"));
        }
        let alias: Option<i64> = self
            .connection
            .query_row(
                "SELECT 1 FROM aliases WHERE domain_id = ?1 AND local_part = ?2 LIMIT 1",
                params![domain_id, local_part],
                |row| row.get(0),
            )
            .optional()?;
        if alias.is_some() {
            return refused(format!("{local_part}@{domain} is an alias already; remove it first"));
        }
        let added = self.connection.execute(
            "INSERT OR IGNORE INTO accounts (domain_id, local_part, password_hash, quota_bytes) VALUES (?1, ?2, ?3, ?4)",
            params![domain_id, local_part, password_hash, i64::try_from(quota_bytes).unwrap_or(i64::MAX)],
        )?;
        if added == 0 {
            return refused(format!("the account {local_part}@{domain} exists already"));
        }
        Ok(u64::try_from(self.connection.last_insert_rowid()).unwrap_or(0))
    }

    /// Sets an account's password.
    ///
    /// # Errors
    /// No such account.
    pub fn set_password(&self, address: &str, password_hash: &str) -> Result<()> {
        let (local_part, domain) = split_address(address)?;
        let domain_id = self.domain_id(&domain)?;
        let changed = self.connection.execute(
            "UPDATE accounts SET password_hash = ?3 WHERE domain_id = ?1 AND local_part = ?2",
            params![domain_id, local_part, password_hash],
        )?;
        if changed == 0 { refused(format!("there is no account {local_part}@{domain}")) } else { Ok(()) }
    }

    /// Sets from how many points on mail is spam for an account.
    ///
    /// # Errors
    /// No such account, or a score that is none.
    pub fn set_account_scores(&self, address: &str, scores: Scores) -> Result<()> {
        scores.check().map_err(DirectoryError::Refused)?;
        let (local_part, domain) = split_address(address)?;
        let domain_id = self.domain_id(&domain)?;
        let changed = self.connection.execute(
            "UPDATE accounts SET junk_score = ?3, reject_score = ?4 WHERE domain_id = ?1 AND local_part = ?2",
            params![domain_id, local_part, scores.junk, scores.reject],
        )?;
        if changed == 0 { refused(format!("there is no account {local_part}@{domain}")) } else { Ok(()) }
    }

    /// The same for all accounts of a domain that have none of their own.
    ///
    /// # Errors
    /// No such domain, or a score that is none.
    pub fn set_domain_scores(&self, name: &str, scores: Scores) -> Result<()> {
        scores.check().map_err(DirectoryError::Refused)?;
        let domain_id = self.domain_id(&name.to_ascii_lowercase())?;
        self.connection.execute(
            "UPDATE domains SET junk_score = ?2, reject_score = ?3 WHERE id = ?1",
            params![domain_id, scores.junk, scores.reject],
        )?;
        Ok(())
    }

    /// Scores of a domain.
    ///
    /// # Errors
    /// No such domain.
    pub fn domain_scores(&self, name: &str) -> Result<Scores> {
        let domain_id = self.domain_id(&name.to_ascii_lowercase())?;
        let scores = |row: &rusqlite::Row<'_>| Ok(Scores { junk: row.get(0)?, reject: row.get(1)? });
        Ok(self.connection.query_row("SELECT junk_score, reject_score FROM domains WHERE id = ?1", [domain_id], scores)?)
    }

    /// Adds targets to an alias of a hosted domain; `@domain` is the domain's catch-all.
    ///
    /// # Errors
    /// Not an address, no such domain, or an account of that name is there.
    pub fn alias_add(&self, address: &str, targets: &[String]) -> Result<()> {
        let (local_part, domain) = match address.strip_prefix('@') {
            Some(domain) => (String::new(), domain.to_ascii_lowercase()),
            None => split_address(address)?,
        };
        let domain_id = self.domain_id(&domain)?;
        let account: Option<i64> = self
            .connection
            .query_row("SELECT 1 FROM accounts WHERE domain_id = ?1 AND local_part = ?2", params![domain_id, local_part], |row| {
                row.get(0)
            })
            .optional()?;
        if account.is_some() {
            return refused(format!("{local_part}@{domain} is an account; an alias needs another name"));
        }
        for target in targets {
            let (local_part_of_target, domain_of_target) = split_address(target)?;
            self.connection.execute(
                "INSERT OR IGNORE INTO aliases (domain_id, local_part, target) VALUES (?1, ?2, ?3)",
                params![domain_id, local_part, format!("{local_part_of_target}@{domain_of_target}")],
            )?;
        }
        Ok(())
    }

    fn domain_id(&self, name: &str) -> Result<i64> {
        let id = self.connection.query_row("SELECT id FROM domains WHERE name = ?1", [name], |row| row.get(0)).optional()?;
        id.map_or_else(|| refused(format!("the domain {name} is not hosted here; `postring domain add {name}` first")), Ok)
    }

    /// Hosted domains, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn domains(&self) -> Result<Vec<String>> {
        let mut statement = self.connection.prepare("SELECT name FROM domains ORDER BY name")?;
        let rows = statement.query_map([], |row| row.get(0))?.collect::<std::result::Result<_, _>>()?;
        Ok(rows)
    }

    /// Accounts, by id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn accounts(&self) -> Result<Vec<AccountRow>> {
        let mut statement = self.connection.prepare(
            "SELECT accounts.id, local_part, name, password_hash, quota_bytes, enabled,
                    COALESCE(accounts.junk_score, domains.junk_score), COALESCE(accounts.reject_score, domains.reject_score)
             FROM accounts JOIN domains ON domains.id = domain_id ORDER BY accounts.id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(AccountRow {
                id: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
                local_part: row.get(1)?,
                domain: row.get(2)?,
                password_hash: row.get(3)?,
                quota_bytes: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
                enabled: row.get(5)?,
                scores: Scores { junk: row.get(6)?, reject: row.get(7)? },
            })
        })?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Targets of aliases.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn aliases(&self) -> Result<Vec<AliasRow>> {
        let mut statement = self
            .connection
            .prepare("SELECT local_part, name, target FROM aliases JOIN domains ON domains.id = domain_id ORDER BY name, local_part, target")?;
        let rows =
            statement.query_map([], |row| Ok(AliasRow { local_part: row.get(0)?, domain: row.get(1)?, target: row.get(2)? }))?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Lower-cases and splits an address.
fn split_address(address: &str) -> Result<(String, String)> {
    let lower = address.to_ascii_lowercase();
    match path::parse_mailbox(&lower, path::Characters::Utf8) {
        Ok(mailbox) if !mailbox.domain.is_empty() && !mailbox.domain.starts_with('[') => {
            Ok((mailbox.local_part.to_owned(), mailbox.ascii_domain().into_owned()))
        }
        _ => refused(format!("\"{address}\" is no address; give something like user@example.org")),
    }
}
