//! What a milter says.

use crate::changes::RecipientChange;
use crate::edits::Edit;
use crate::packet::Packet;
use crate::problem::Problem;
use crate::text;
use memchr::memchr;
use postring_mail::Reply;
use postring_mail::path::{Characters, parse_mailbox};

/// One packet of a milter, understood (SMFIR).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Go on.
    Continue,
    /// The message is taken, nothing more needs to be told.
    Accept,
    /// Refuse it.
    Reject,
    /// Refuse it for now.
    TempFail,
    /// Take it, and throw it away.
    Discard,
    /// Refuse it with this reply.
    Refuse(Reply),
    /// No more of this kind: the next step.
    Skip,
    /// It still works.
    Progress,
    /// Change the header.
    Edit(Edit),
    /// Change who gets it.
    Recipient(RecipientChange),
    /// Change from whom it is; empty: the null reverse-path.
    ReversePath(String),
    /// A piece of the body in the place of the one there is.
    Body(Vec<u8>),
    /// Put the message aside.
    Quarantine,
}

impl Response {
    /// Understands a packet. `leading_space`: values of header fields come with the space in front of them (SMFIP_HDR_LEADSPC).
    ///
    /// # Errors
    /// It is none of these, or its data is not what belongs there.
    pub fn parse(packet: Packet<'_>, leading_space: bool) -> Result<Self, Problem> {
        let bad = || Problem::BadData(packet.command);
        Ok(match packet.command {
            b'c' => Self::Continue,
            b'a' => Self::Accept,
            b'r' => Self::Reject,
            // 421 and a failure of the connection are the MTA's own affair: it tries again.
            b't' | b'4' | b'f' => Self::TempFail,
            b'd' => Self::Discard,
            b's' => Self::Skip,
            b'p' => Self::Progress,
            b'q' => Self::Quarantine,
            b'y' => {
                let (reply, _) = string(packet.data).ok_or_else(bad)?;
                let reply = String::from_utf8_lossy(reply);
                Self::Refuse(text::refusal(&reply, (7, 1), "Message refused").ok_or_else(bad)?)
            }
            b'h' => {
                let (name, value) = name_and_value(packet.data).ok_or_else(bad)?;
                Self::Edit(Edit::add(name, value, leading_space).ok_or_else(bad)?)
            }
            b'i' | b'm' => {
                let (index, rest) = packet.data.split_first_chunk::<4>().ok_or_else(bad)?;
                let index = u32::from_be_bytes(*index);
                let (name, value) = name_and_value(rest).ok_or_else(bad)?;
                let edit = if packet.command == b'i' { Edit::insert } else { Edit::change };
                Self::Edit(edit(index, name, value, leading_space).ok_or_else(bad)?)
            }
            // Behind the address of `2` and `e` there may be parameters of ESMTP: a new recipient gets the sender's, which are none.
            b'+' | b'2' => {
                let (address, _) = string(packet.data).ok_or_else(bad)?;
                Self::Recipient(RecipientChange::Add(
                    address_of(address).filter(|address| address.contains('@')).ok_or_else(bad)?,
                ))
            }
            b'-' => {
                let (address, _) = string(packet.data).ok_or_else(bad)?;
                Self::Recipient(RecipientChange::Delete(address_of(address).ok_or_else(bad)?))
            }
            b'e' => {
                let (address, _) = string(packet.data).ok_or_else(bad)?;
                let is_path = |address: &String| address.is_empty() || address.contains('@');
                Self::ReversePath(address_of(address).filter(is_path).ok_or_else(bad)?)
            }
            b'b' => Self::Body(packet.data.to_vec()),
            other => return Err(Problem::Unexpected(other)),
        })
    }
}

/// An address, with angle brackets or without, as the session knows it: with A-labels in its domain; the postmaster may be without one.
fn address_of(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text.strip_prefix('<').map_or(Some(text), |inner| inner.strip_suffix('>'))?;
    if text.is_empty() {
        return Some(String::new());
    }
    let mailbox = parse_mailbox(text, Characters::Utf8).ok()?;
    if mailbox.domain.is_empty() {
        return Some(mailbox.local_part.to_owned());
    }
    Some(format!("{}@{}", mailbox.local_part, mailbox.ascii_domain()))
}

/// The octets before a NUL, and those behind it.
fn string(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(0, data)?;
    Some((data.get(..end)?, data.get(end + 1..)?))
}

fn name_and_value(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = string(data)?;
    let (value, _) = string(rest)?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(command: u8, data: &[u8]) -> Result<Response, Problem> {
        Response::parse(Packet { command, data }, false)
    }

    /// As libmilter writes them (`mi_wr_cmd` with the arguments of smfi_setreply, smfi_addheader, smfi_insheader, smfi_chgheader).
    #[test]
    fn golden_packets() {
        for (command, response) in [
            (b'c', Response::Continue),
            (b'a', Response::Accept),
            (b'r', Response::Reject),
            (b't', Response::TempFail),
            (b'd', Response::Discard),
            (b's', Response::Skip),
            (b'p', Response::Progress),
        ] {
            assert_eq!(parsed(command, b""), Ok(response));
        }
        assert_eq!(parsed(b'q', b"held\0"), Ok(Response::Quarantine));
        let refused = parsed(b'y', b"554 5.7.1 Spam\0").unwrap();
        assert_eq!(refused, Response::Refuse(Reply::with_text(554, 7, 1, "Spam".to_owned())));
        assert_eq!(parsed(b'h', b"X-A\0b\0"), Ok(Response::Edit(Edit::add(b"X-A", b"b", false).unwrap())));
        let add = |address: &str| Ok(Response::Recipient(RecipientChange::Add(address.to_owned())));
        assert_eq!(parsed(b'+', b"<a@b.example>\0"), add("a@b.example"));
        assert_eq!(parsed(b'2', b"a@b.example\0NOTIFY=NEVER\0"), add("a@b.example"));
        let delete = RecipientChange::Delete("a@b.example".to_owned());
        assert_eq!(parsed(b'-', b"<a@b.example>\0"), Ok(Response::Recipient(delete)));
        assert_eq!(parsed(b'e', b"<a@b.example>\0SIZE=1\0"), Ok(Response::ReversePath("a@b.example".to_owned())));
        let delete = RecipientChange::Delete("postmaster".to_owned());
        assert_eq!(parsed(b'-', b"<postmaster>\0"), Ok(Response::Recipient(delete)));
        for command in [b'+', b'2', b'e'] {
            assert_eq!(parsed(command, b"<postmaster>\0"), Err(Problem::BadData(command)));
        }
        assert_eq!(parsed(b'e', b"<>\0"), Ok(Response::ReversePath(String::new())));
        assert_eq!(parsed(b'b', b"a\0b"), Ok(Response::Body(b"a\0b".to_vec())));
        assert_eq!(parsed(b'i', b"\0\0\0\x01X-A\0b\0"), Ok(Response::Edit(Edit::insert(1, b"X-A", b"b", false).unwrap())));
        assert_eq!(parsed(b'm', b"\0\0\0\x02X-A\0\0"), Ok(Response::Edit(Edit::change(2, b"X-A", b"", false).unwrap())));
    }

    #[test]
    fn what_breaks_the_protocol_is_said() {
        for data in [&b""[..], b"554", b"250 ok\0", b"xyz\0"] {
            assert_eq!(parsed(b'y', data), Err(Problem::BadData(b'y')));
        }
        for data in [&b""[..], b"X\0", b"X\0v", b"\0v\0", b"A B\0v\0", b"A:\0v\0", b"\xe9\0v\0"] {
            assert_eq!(parsed(b'h', data), Err(Problem::BadData(b'h')));
        }
        assert_eq!(parsed(b'i', b"\0\0\0X\0v"), Err(Problem::BadData(b'i')));
        for data in [&b""[..], b"a@b.example", b"\0", b"<>\0", b"<a@b.example\0", b"a\0", b"a@b c\0", b"a\r\n@b\0", b"\xff@b\0"] {
            assert_eq!(parsed(b'+', data), Err(Problem::BadData(b'+')), "{data:?}");
        }
        for command in [b'O', b'l', 0, 255] {
            assert_eq!(parsed(command, b"x\0"), Err(Problem::Unexpected(command)));
        }
    }
}
