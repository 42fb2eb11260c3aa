//! Roles store and send
