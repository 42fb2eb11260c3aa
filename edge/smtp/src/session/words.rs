//! What a session is told and what it asks: the words between the core and the daemon.

use postring_mail::dsn::{Notify, Returned};
use postring_mail::envelope::RECIPIENT_FIXED_BYTES;
use postring_mail::{Reply, limits};
use smallvec::SmallVec;
use std::net::IpAddr;

/// Which service a connection is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Mail from other servers (RFC 5321).
    Smtp,
    /// Mail from our users; STARTTLS before AUTH, AUTH before MAIL (RFC 6409, RFC 8314).
    Submission,
    /// The same within TLS from the first byte (RFC 8314 section 3.3).
    Submissions,
    /// Final delivery for another server (RFC 2033).
    Lmtp,
}

impl Protocol {
    /// True for the two that take mail from users.
    #[must_use]
    pub fn is_submission(self) -> bool {
        matches!(self, Self::Submission | Self::Submissions)
    }
}

/// What a listener's sessions have in common.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Our name in greeting and replies.
    pub hostname: String,
    /// The service.
    pub protocol: Protocol,
    /// Largest message, octets.
    pub message_bytes_max: u64,
    /// Recipients of one message.
    pub recipients_max: usize,
    /// A certificate is there: STARTTLS is offered.
    pub tls_available: bool,
    /// Errors before 421.
    pub errors_max: u32,
    /// Commands without work before 421.
    pub idle_commands_max: u32,
    /// Time for a command, milliseconds.
    pub command_wait_ms: u64,
    /// Time without a byte in DATA, milliseconds.
    pub data_block_wait_ms: u64,
    /// Time for a whole message, milliseconds.
    pub data_total_wait_ms: u64,
    /// VRFY says who lives here.
    pub verify: bool,
    /// Content with a bare CR or LF is taken; whoever stores it makes lines of it. What ends content and commands is CR LF all the same.
    pub take_bare_line_ends: bool,
}

impl ServerConfig {
    /// The limits' defaults.
    #[must_use]
    pub fn new(hostname: &str, protocol: Protocol) -> Self {
        Self {
            hostname: hostname.to_owned(),
            protocol,
            message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
            recipients_max: limits::RECIPIENTS_MAX,
            tls_available: false,
            errors_max: limits::CLIENT_ERRORS_MAX,
            idle_commands_max: limits::IDLE_COMMANDS_MAX,
            command_wait_ms: limits::COMMAND_WAIT_MS,
            data_block_wait_ms: limits::DATA_BLOCK_WAIT_MS,
            data_total_wait_ms: limits::DATA_TOTAL_WAIT_MS,
            verify: false,
            take_bare_line_ends: false,
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// TLS as it was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// Protocol version.
    pub version: &'static str,
    /// Cipher suite.
    pub cipher: &'static str,
}

/// What the session wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// May this client speak at all? Answer: `Welcome` or `Refused`.
    Connect,
    /// Is the sender address the account's? Submission only. Answer: `Sender`.
    Sender {
        /// `local-part@domain`.
        address: String,
    },
    /// Where does mail for this address go? Answer: `Recipient`.
    Recipient {
        /// `local-part@domain`; `postmaster` may stand without a domain.
        address: String,
    },
    /// Does somebody live here (VRFY)? Answer: `Recipient`.
    Verify {
        /// As in `Recipient`.
        address: String,
    },
    /// Are these name and password an account's? Answer: `Authenticated`, `AuthenticationFailed` or `TemporaryFailure`.
    Authenticate {
        /// The name, as the user typed it.
        name: String,
        /// The password.
        password: Vec<u8>,
    },
}

/// An account that has authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id in the directory.
    pub id: u64,
    /// Its address.
    pub address: String,
}

/// What the daemon found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `Connect`.
    Welcome,
    /// To `Connect`: this reply, and the end.
    Refused(Reply),
    /// To `Sender`: it is theirs, or not.
    Sender(bool),
    /// To `Recipient`.
    Recipient(RecipientAnswer),
    /// To `Authenticate`.
    Authenticated(Account),
    /// To `Authenticate`.
    AuthenticationFailed,
    /// To any: could not be found out now.
    TemporaryFailure,
}

/// Where mail for an address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientAnswer {
    /// Into these mailboxes and to these remote addresses (an alias may have many).
    Accept(SmallVec<[Target; 1]>),
    /// The domain is ours, the mailbox is not there.
    Unknown,
    /// The domain is not ours.
    NotHosted,
    /// The mailbox takes no mail.
    Disabled,
    /// Not from this client: this reply.
    Refused(Reply),
}

/// One place a message goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A mailbox here.
    Account {
        /// The account.
        id: u64,
        /// The store shard that owns it.
        shard: u32,
    },
    /// Somewhere else.
    Remote(String),
}

/// An accepted recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRecipient {
    /// The address as given.
    pub address: String,
    /// Where it goes.
    pub targets: SmallVec<[Target; 1]>,
    /// NOTIFY (RFC 3461).
    pub notify: Notify,
    /// ORCPT: address type and xtext, or empty (RFC 3461).
    pub original_recipient: String,
}

impl TransactionRecipient {
    /// Bytes it takes in the envelope.
    pub(crate) fn envelope_bytes(&self) -> usize {
        let address = |target: &Target| match target {
            Target::Account { .. } => self.address.len(),
            Target::Remote(address) => address.len(),
        };
        let fixed = RECIPIENT_FIXED_BYTES + self.original_recipient.len();
        self.targets.iter().map(|target| fixed + address(target)).sum()
    }
}

/// What was agreed before the content (RFC 5321 section 3.3).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transaction {
    /// `local-part@domain`; empty for the null reverse-path.
    pub reverse_path: String,
    /// In the order of RCPT.
    pub recipients: Vec<TransactionRecipient>,
    /// BODY=8BITMIME or BINARYMIME.
    pub eight_bit: bool,
    /// Its content has a bare CR or LF ([`ServerConfig::take_bare_line_ends`]), and perhaps a NUL.
    pub bare_line_ends: bool,
    /// BODY=BINARYMIME (RFC 3030): the content may be any octets; whoever stores lines converts it.
    pub binary: bool,
    /// SMTPUTF8 (RFC 6531): addresses may have characters outside ASCII in their local parts; the domains here have A-labels.
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689): it must not leave this host but within TLS, to a server that is who it should be.
    pub require_tls: bool,
    /// PRDR: a reply for each recipient behind the content (draft-hall-prdr-00).
    pub prdr: bool,
    /// RET (RFC 3461).
    pub returned: Option<Returned>,
    /// ENVID in xtext, or empty (RFC 3461).
    pub envelope_id: String,
    /// Bytes its recipients take in the envelope.
    pub(crate) envelope_bytes: usize,
    /// SIZE=.
    pub size_declared: Option<u64>,
}

/// What the daemon is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find this out and call `handle_answer`.
    Ask(Question),
    /// Take a slot and call `body_opened`, or `body_refused`.
    OpenBody {
        /// SIZE= of the client, a hint; with BDAT at least the first chunk.
        size_declared: Option<u64>,
    },
    /// See that behind the content in the slot there is room, then call `body_opened`, or `body_refused`.
    ContinueBody {
        /// Octets of the chunk that comes, a hint.
        bytes: u64,
    },
    /// Send what is in the output, then do the handshake and call `handle_tls_established`.
    StartTls,
    /// The message is complete: judge and store it, then call `handle_receipt` or `handle_refusal`.
    Submit,
    /// Send what is in the output, then close.
    Close,
}

/// What the session would take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// Command lines: `handle_bytes`.
    Commands,
    /// Content, into the slot: `handle_body`.
    Body,
    /// Content of a message that is refused already, into any scratch: `handle_body`, the decoded bytes are not kept.
    Discard,
    /// Nothing: it waits for the daemon.
    Nothing,
}
