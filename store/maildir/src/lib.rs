//! Maildir++ names and delivery
