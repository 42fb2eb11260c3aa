//! Domains, accounts, aliases: SQLite, and the snapshot every shard maps
