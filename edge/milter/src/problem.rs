//! What a milter or a policy server can do wrong. For the log alone: no peer hears of it.

/// It broke its protocol, or wants what we do not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A packet of more octets than anybody needs to send.
    PacketTooLong(u32),
    /// A packet without a command.
    PacketEmpty,
    /// The data of a packet, by its command, is not what belongs there.
    BadData(u8),
    /// A packet that is not allowed now, by its command.
    Unexpected(u8),
    /// It speaks another version.
    Version(u32),
    /// It wants the protocol otherwise than we have offered (bits of SMFIP).
    Steps(u32),
    /// It goes on saying that it works, and does not come to an end.
    TooMuchProgress,
    /// The answer of a policy server does not end, or has no action.
    BadAnswer,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |byte: u8| char::from(byte).escape_default().to_string();
        match self {
            Self::PacketTooLong(length) => write!(f, "it sends a packet of {length} octets"),
            Self::PacketEmpty => write!(f, "it sends a packet without a command"),
            Self::BadData(command) => write!(f, "it sends '{}' with data that cannot be read", shown(*command)),
            Self::Unexpected(command) => write!(f, "it sends '{}' where that may not be", shown(*command)),
            Self::Version(version) => write!(f, "it speaks version {version} of the protocol; 2 to 6 are known"),
            Self::Steps(bits) => write!(f, "it wants the protocol as it is not offered (SMFIP {bits:#x})"),
            Self::TooMuchProgress => write!(f, "it says again and again that it works, and does not answer"),
            Self::BadAnswer => write!(f, "its answer has no action, or no end"),
        }
    }
}

impl std::error::Error for Problem {}
