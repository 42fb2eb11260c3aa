//! Every reply of the server, in one place, with the rule that asks for it.
//!
//! Codes by RFC 5321 section 4.2.3 and 4.3.2, enhanced codes by RFC 3463 and the registry (RFC 5248).

use postring_mail::Reply;

macro_rules! replies {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal $subject:literal $detail:literal $text:literal;)+) => {
        $($(#[doc = $doc])+ pub static $name: Reply = Reply::fixed($code, $subject, $detail, $text);)+
    };
}

replies! {
    /// NOOP, and whatever else went well.
    OK = 250 0 0 "Ok";
    /// RSET.
    RESET = 250 0 0 "Reset";
    /// MAIL.
    SENDER_OK = 250 1 0 "Sender ok";
    /// RCPT.
    RECIPIENT_OK = 250 1 5 "Recipient ok";
    /// BDAT that is not the last (RFC 3030 section 2).
    CHUNK_OK = 250 0 0 "Chunk taken";
    /// QUIT.
    BYE = 221 0 0 "Bye";
    /// VRFY: RFC 5321 section 7.3 lets a site refuse to tell, with 252.
    VERIFY = 252 1 0 "Will not say; send it and see";
    /// HELP.
    HELP = 214 0 0 "RFC 5321: EHLO, MAIL, RCPT, DATA or BDAT, RSET, NOOP, VRFY, QUIT; postmaster@this host reads mail";
    /// STARTTLS (RFC 3207 section 4).
    TLS_READY = 220 0 0 "Ready to start TLS";
    /// AUTH went well (RFC 4954 section 6).
    AUTHENTICATED = 235 7 0 "Authentication succeeded";
    /// Too many errors, or commands without work.
    TOO_MANY_ERRORS = 421 7 0 "Too many errors";
    /// Enough for one connection.
    TOO_MANY_TRANSACTIONS = 421 7 0 "Enough for one connection, please open another";
    /// A deadline has passed.
    TIMEOUT = 421 4 2 "Timeout, closing";
    /// The server stops.
    SHUTDOWN = 421 3 2 "Shutting down, try again later";
    /// No slot for the body.
    NO_SLOT = 452 3 1 "Too many messages under way, try again later";
    /// RFC 5321 section 4.5.3.1.10.
    TOO_MANY_RECIPIENTS = 452 5 3 "Too many recipients, send to the rest in another transaction";
    /// A mistake of ours.
    LOCAL_ERROR = 451 3 0 "Error in processing, try again later";
    /// A look-up did not come to an end.
    LOOKUP_FAILED = 451 4 3 "The address could not be checked now, try again later";
    /// The credentials could not be checked.
    AUTH_UNAVAILABLE = 454 7 0 "Authentication is not possible now, try again later";
    /// STARTTLS without a certificate (RFC 3207 section 4).
    TLS_UNAVAILABLE = 454 7 0 "TLS is not available";
    /// Not a command.
    UNKNOWN_COMMAND = 500 5 1 "Command not known";
    /// Not a line.
    BAD_LINE = 500 5 2 "A command is one line of ASCII that ends with CR LF";
    /// Longer than a command may be.
    LINE_TOO_LONG = 500 5 6 "Line too long";
    /// MAIL.
    BAD_MAIL = 501 5 4 "Syntax: MAIL FROM:<address>";
    /// RCPT.
    BAD_RCPT = 501 5 4 "Syntax: RCPT TO:<address>";
    /// A parameter.
    BAD_PARAMETER = 501 5 4 "Bad parameter";
    /// VRFY.
    BAD_VRFY = 501 5 4 "Syntax: VRFY address";
    /// An argument where none is.
    NO_ARGUMENT = 501 5 4 "This command takes no argument";
    /// BDAT whose length cannot be read: the connection is closed behind it.
    BAD_BDAT = 501 5 4 "Syntax: BDAT octets [LAST]; closing, because what follows cannot be told from commands";
    /// XCLIENT.
    BAD_XCLIENT = 501 5 4 "Syntax: XCLIENT attribute=value ..., with NAME, ADDR, PORT, PROTO, HELO";
    /// AUTH.
    BAD_AUTH = 501 5 2 "Cannot decode that as base64, or it is no answer to the mechanism";
    /// AUTH answered with `*` (RFC 4954 section 4).
    AUTH_CANCELLED = 501 7 0 "Authentication cancelled";
    /// Known, not done.
    NOT_IMPLEMENTED = 502 5 1 "Command not implemented";
    /// The table says no.
    BAD_SEQUENCE = 503 5 1 "Not now: the order is EHLO, MAIL, RCPT, DATA";
    /// RCPT or DATA while content comes in chunks (RFC 3030 section 2).
    IN_CHUNKS = 503 5 1 "The content is coming by BDAT: go on with BDAT, or say RSET";
    /// A chunk of a message that was refused at an earlier one (RFC 3030 section 2).
    CHUNK_OF_FAILED = 503 5 1 "The message was refused already; this chunk is thrown away";
    /// No greeting yet.
    NEED_HELO = 503 5 1 "Say EHLO first";
    /// LMTP speaks LHLO only (RFC 2033 section 4.1).
    NEED_LHLO = 503 5 1 "This is LMTP: say LHLO";
    /// AUTH or STARTTLS twice.
    ALREADY_DONE = 503 5 1 "Already done";
    /// Plain text pipelined behind STARTTLS (RFC 3207 section 6).
    PIPELINED_TLS = 503 5 1 "Nothing may be sent behind STARTTLS before TLS begins";
    /// A SASL mechanism we do not have.
    BAD_MECHANISM = 504 5 4 "Mechanisms are PLAIN and LOGIN";
    /// MAIL without AUTH on submission (RFC 6409 section 4.3).
    NEED_AUTH = 530 7 0 "Authenticate first";
    /// AUTH without TLS (RFC 4954 section 4, RFC 8314).
    NEED_TLS = 530 7 0 "Say STARTTLS first";
    /// Wrong name or password (RFC 4954 section 6).
    AUTH_FAILED = 535 7 8 "Name or password is wrong";
    /// RFC 5321 section 3.6.2.
    NO_RELAY = 550 7 1 "We do not take mail for that domain";
    /// REQUIRETLS for a recipient that is not here (RFC 8689 section 5).
    NO_TLS_BEYOND = 550 7 30 "REQUIRETLS cannot be promised on the way to that recipient";
    /// No such mailbox.
    NO_MAILBOX = 550 1 1 "No such mailbox";
    /// A mailbox that takes no mail.
    DISABLED = 550 2 1 "The mailbox is disabled";
    /// Submission with somebody else's address.
    NOT_YOUR_ADDRESS = 553 7 1 "The sender address is not yours";
    /// RFC 1870 section 6.2.
    TOO_LARGE = 552 3 4 "The message is larger than we take";
    /// A header section longer than is taken.
    HEADER_TOO_LONG = 552 3 4 "Message refused: its header is longer than 256 KiB";
    /// A message with bare CR or LF.
    BARE_LINE_END = 550 6 0 "Message refused: bare CR or bare LF in it; lines end with CR LF (RFC 5321 section 2.3.8)";
    /// A message with a NUL.
    NUL_OCTET = 550 6 0 "Message refused: NUL octet in it";
    /// DATA for content that may be no lines (RFC 3030 section 3).
    BDAT_ONLY = 503 5 1 "BODY=BINARYMIME takes BDAT";
    /// Content with BINARYMIME that cannot be made lines (RFC 3463 section 3.7).
    NOT_CONVERTIBLE = 554 6 3 "Message refused: its binary parts cannot be converted";
    /// RFC 5321 section 6.3.
    LOOP = 554 4 6 "Message refused: too many Received fields, it is in a loop";
    /// No recipient was accepted: RFC 5321 section 3.3 leaves the choice of 503 and 554, RFC 2033 section 4.2 asks for 503.
    NO_RECIPIENTS = 503 5 1 "No valid recipients";
    /// Another protocol.
    FOREIGN = 554 5 1 "This is SMTP";
    /// A parameter we did not announce (RFC 5321 section 4.1.1.11).
    UNKNOWN_PARAMETER = 555 5 4 "Parameter not known";
}

/// HELO, EHLO, LHLO: their replies have no enhanced codes (RFC 2034 section 4).
pub static BAD_HELO: Reply = Reply::plain(501, "Syntax: HELO, EHLO or LHLO, then the name of your host");

/// PRDR: a reply for each recipient comes now (draft-hall-prdr-00).
pub static RECIPIENTS_FOLLOW: Reply = Reply::plain(353, "One reply for each recipient, then one for all");

/// DATA.
pub static SEND_DATA: Reply = Reply::plain(354, "End with CR LF . CR LF");

#[cfg(test)]
mod tests {
    #[test]
    fn fixed_replies_have_their_class() {
        assert_eq!(super::TOO_LARGE.to_string(), "552 5.3.4 The message is larger than we take");
        assert_eq!(super::SEND_DATA.to_string(), "354 End with CR LF . CR LF");
    }
}
