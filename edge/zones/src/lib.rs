//! Zones and block lists at rest and in motion: files, journals, keys and transfers.

pub mod template;
