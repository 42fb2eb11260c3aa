//! One remote delivery: MX choice and the client half of SMTP, no I/O
