//! Every limit of the mail path, in one place, with its source. A limit that is configurable has its
//! default here; the hard upper bound too.

/// Longest command line the server takes, CRLF included.
//= RFC 5321 section 4.5.3.1.4
//# The maximum total length of a command line including the command word
//# and the <CRLF> is 512 octets.
/// The extensions add to it: SIZE 26 (RFC 1870), BODY 16 (RFC 6152), SMTPUTF8 10 (RFC 6531), RET and ENVID 115, NOTIFY and ORCPT 535
/// (RFC 3461), AUTH 12288 (RFC 4954 section 4.8);
/// this is the bound outside AUTH, generous as everybody's is.
pub const COMMAND_LINE_BYTES_MAX: usize = 2048;

/// Longest line of an AUTH exchange, CRLF included (RFC 4954 section 4.8).
pub const AUTH_LINE_BYTES_MAX: usize = 12_288;

/// Longest local-part (RFC 5321 section 4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// Longest domain (RFC 5321 section 4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Longest path with its angle brackets (RFC 5321 section 4.5.3.1.3).
pub const PATH_BYTES_MAX: usize = 256;

/// Recipients of one message; RFC 5321 section 4.5.3.1.8 asks for at least 100. More are answered `452 4.5.3`.
pub const RECIPIENTS_MAX: usize = 100;

/// Default largest message, octets as sent (SIZE, RFC 1870): what hosters allow today.
pub const MESSAGE_BYTES_DEFAULT: u64 = 35 * 1024 * 1024;
/// No configuration may ask for more: a slot of the largest class must hold it.
pub const MESSAGE_BYTES_CEILING: u64 = 39 * 1024 * 1024;
/// A chunk (BDAT, RFC 3030) of a refused message that says it is longer is not read to its end: the connection is closed. Long enough for whoever
/// overlooked SIZE.
pub const CHUNK_DISCARDED_BYTES_MAX: u64 = 4 * MESSAGE_BYTES_CEILING;

/// Received fields in a message before it is called a loop (RFC 5321 section 6.3 asks for at least 100).
pub const RECEIVED_FIELDS_MAX: usize = 100;

/// Errors of a client before `421` and the end of the connection (Postfix: smtpd_hard_error_limit 20).
pub const CLIENT_ERRORS_MAX: u32 = 20;
/// Commands of a connection that do no work (NOOP, RSET, VRFY, HELO) before `421` (Postfix: smtpd_junk_command_limit 100).
pub const IDLE_COMMANDS_MAX: u32 = 100;
/// Transactions on one connection before `421`; keeps one client from owning a shard for ever.
pub const TRANSACTIONS_MAX: u32 = 10_000;

/// Time for one command (RFC 5321 section 4.5.3.2.7: at least five minutes).
pub const COMMAND_WAIT_MS: u64 = 300_000;
/// Time without a byte inside DATA (RFC 5321 section 4.5.3.2.5: three minutes for a block).
pub const DATA_BLOCK_WAIT_MS: u64 = 180_000;
/// Time for a whole message body, however busily it trickles.
pub const DATA_TOTAL_WAIT_MS: u64 = 1_800_000;
/// Time for a client to take our replies: one whose window is full is gone, or wants to keep us. Milliseconds.
pub const REPLY_TAKEN_WAIT_MS: u64 = 60_000;
/// Time for the PROXY header of a proxy of ours, which has it at hand when it connects. Milliseconds.
pub const PROXY_HEADER_WAIT_MS: u64 = 10_000;
/// Time for a TLS handshake.
pub const TLS_HANDSHAKE_WAIT_MS: u64 = 30_000;

/// Time a scan may take before its slot is given to another worker.
pub const SCAN_WAIT_MS: u64 = 10_000;
/// Workers a message may outlive before it gets `451` and is kept in quarantine.
pub const SCAN_ATTEMPTS_MAX: u32 = 2;
/// Time a store shard may take to answer Durable before the client gets `451`.
pub const STORE_WAIT_MS: u64 = 60_000;

/// Connections at once, for one shard.
pub const CONNECTIONS_PER_SHARD_MAX: usize = 40_000;

/// Octets of the longest header section that is taken: ten times what real mail has.
pub const HEADER_BYTES_MAX: usize = 256 * 1024;

/// Bytes at the start of a slot that hold the envelope, and before the body the trace header fields.
pub const SLOT_HEAD_BYTES: usize = 32 * 1024;
/// Octets by which policy servers and milters may make a header longer: a signature and its results are 2 KiB.
pub const HELPER_FIELDS_BYTES_MAX: usize = 8 * 1024;
/// Room kept at the end of the head for the trace fields: Authentication-Results to 4000, X-Spam-Symbols to 2900, Received-SPF and Received to 1400
/// each, the others to 400; and for what [`HELPER_FIELDS_BYTES_MAX`] allows.
pub const TRACE_BYTES_MAX: usize = 12 * 1024 + HELPER_FIELDS_BYTES_MAX;
/// Bytes the envelope may take.
pub const ENVELOPE_BYTES_MAX: usize = SLOT_HEAD_BYTES - TRACE_BYTES_MAX;

/// Bytes of an encoded verdict: the payload of a completion in the scanner's ring.
pub const VERDICT_BYTES_MAX: usize = 2048;
/// Symbols in a verdict; the least heavy are dropped beyond it.
pub const SYMBOLS_MAX: usize = 40;
/// Longest name of a symbol.
pub const SYMBOL_NAME_BYTES_MAX: usize = 64;
/// Longest detail of a symbol.
pub const SYMBOL_DETAIL_BYTES_MAX: usize = 128;

const _: () = assert!(COMMAND_LINE_BYTES_MAX >= 512 && AUTH_LINE_BYTES_MAX >= COMMAND_LINE_BYTES_MAX);
const _: () = assert!(RECIPIENTS_MAX >= 100);
// Every recipient of the longest form fits twice over: local-part + domain + the record's own bytes.
const _: () = assert!(ENVELOPE_BYTES_MAX >= 12 * 1024 && TRACE_BYTES_MAX >= 4096);
const _: () = assert!(MESSAGE_BYTES_DEFAULT <= MESSAGE_BYTES_CEILING);
const _: () = assert!(RECEIVED_FIELDS_MAX >= 100);
