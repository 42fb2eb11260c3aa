-- The directory: what is hosted here. With what follows in schema-2.sql and schema-3.sql it is version 3 (PRAGMA user_version).
-- Names are stored lower-cased; one address is one row in `accounts` or one or more in `aliases`.

CREATE TABLE domains (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    changed INTEGER NOT NULL DEFAULT 0                 -- seconds since 1970: when something its zone holds has changed last
) STRICT;

CREATE TABLE accounts (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: mailbox and shard hang on it
    domain_id       INTEGER NOT NULL REFERENCES domains (id),
    local_part      TEXT NOT NULL,
    password_hash   TEXT NOT NULL,                     -- {SCHEME}text, as Dovecot writes it
    quota_bytes     INTEGER NOT NULL DEFAULT 0,        -- 0: none
    enabled         INTEGER NOT NULL DEFAULT 1,
    UNIQUE (domain_id, local_part)
) STRICT;

CREATE TABLE aliases (
    domain_id   INTEGER NOT NULL REFERENCES domains (id),
    local_part  TEXT NOT NULL,                         -- empty: every address of the domain that is nothing else
    target      TEXT NOT NULL,                         -- an address, here or elsewhere
    PRIMARY KEY (domain_id, local_part, target)
) STRICT, WITHOUT ROWID;

-- Grows with every change; who holds a snapshot of another number makes a new one.
CREATE TABLE change (sequence INTEGER NOT NULL) STRICT;
INSERT INTO change VALUES (1);
CREATE TRIGGER domains_insert  AFTER INSERT ON domains  BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER domains_update  AFTER UPDATE ON domains  BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER domains_delete  AFTER DELETE ON domains  BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER accounts_insert AFTER INSERT ON accounts BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER accounts_update AFTER UPDATE ON accounts BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER accounts_delete AFTER DELETE ON accounts BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER aliases_insert  AFTER INSERT ON aliases  BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER aliases_update  AFTER UPDATE ON aliases  BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER aliases_delete  AFTER DELETE ON aliases  BEGIN UPDATE change SET sequence = sequence + 1; END;

-- For Dovecot's passdb and userdb: see the README of this folder.
CREATE VIEW dovecot_users AS
    SELECT accounts.local_part || '@' || domains.name AS user,
           accounts.password_hash                      AS password,
           domains.name || '/' || accounts.local_part  AS maildir
    FROM accounts JOIN domains ON domains.id = accounts.domain_id
    WHERE accounts.enabled;
