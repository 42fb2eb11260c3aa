-- What version 2 added to version 1: keys for DKIM, and what a domain's zone needs. (`domains.changed` is added by who opens a version 1.)

CREATE TABLE dkim_keys (
    domain_id       INTEGER NOT NULL REFERENCES domains (id),
    selector        TEXT NOT NULL,
    algorithm       TEXT NOT NULL,                     -- rsa or ed25519, as in the k= tag (RFC 8463)
    private_key     TEXT NOT NULL,                     -- PKCS#8, PEM
    record          TEXT NOT NULL,                     -- the TXT record's content
    PRIMARY KEY (domain_id, selector)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER dkim_keys_insert AFTER INSERT ON dkim_keys BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER dkim_keys_update AFTER UPDATE ON dkim_keys BEGIN UPDATE change SET sequence = sequence + 1; END;
CREATE TRIGGER dkim_keys_delete AFTER DELETE ON dkim_keys BEGIN UPDATE change SET sequence = sequence + 1; END;
