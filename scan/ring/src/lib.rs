//! Shared-memory arena and descriptor rings between processes that distrust each other
