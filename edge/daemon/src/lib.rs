//! Role edge: shards, listeners, sessions, scan slots
