//! Append-only journal with group commit; mints Durable
