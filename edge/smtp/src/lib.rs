//! SMTP (RFC 5321 and extensions) without I/O: server session and client half
