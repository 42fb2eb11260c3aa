//! The SOA serial of a zone that is signed here (RFC 1982, RFC 4035 section 2).
//!
//! Secondaries fetch a zone when its serial grows, so it must grow whenever the zone is signed anew, although the file is the same: else theirs
//! would expire with the old signatures. What was given out last is kept in the zone's state file, for a serial must not fall back after a
//! restart, either.

use std::fmt;

/// How the serial of a signed zone is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SerialPolicy {
    /// The file's serial if it is ahead of the last one, else the last one plus one, as Knot and OpenDNSSEC ("counter") do: the serial stays
    /// near the file's and works with any numbering, dates among them. The default, for the state it needs is kept anyway.
    #[default]
    Increment,
    /// Seconds since 1970, if that is ahead of both the file's and the last one; else as `Increment`. For who may lose the state file.
    UnixTime,
    /// The file's, always: for zones without secondaries, or whose file is written anew before the signatures end.
    Keep,
}

impl SerialPolicy {
    const ALL: [(Self, &'static str); 3] = [(Self::Increment, "increment"), (Self::UnixTime, "unixtime"), (Self::Keep, "keep")];

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(policy, _)| *policy)
    }

    /// The serial of the zone as it is about to be signed, from the one in its file and the one last given out.
    ///
    /// A file whose serial was set back is taken as unchanged; to go back on purpose, delete `serial` from the state file and transfer the zone
    /// by hand at the secondaries.
    #[must_use]
    pub fn next(self, file: u32, last: Option<u32>, now: u64) -> u32 {
        if self == Self::Keep {
            return file;
        }
        let next = match last {
            Some(last) if !is_ahead(file, last) => last.wrapping_add(1),
            _ => file,
        };
        // Modulo 2^32, as times of signatures are.
        let [_, _, _, _, now @ ..] = now.to_be_bytes();
        let now = u32::from_be_bytes(now);
        let grows = is_ahead(now, next) && last.is_none_or(|last| is_ahead(now, last));
        if self == Self::UnixTime && grows { now } else { next }
    }
}

impl fmt::Display for SerialPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL.iter().find(|(policy, _)| policy == self).map_or("", |(_, name)| name))
    }
}

/// True if `left` is greater than `right` (RFC 1982 section 3.2).
#[must_use]
pub fn is_ahead(left: u32, right: u32) -> bool {
    (1..1 << 31).contains(&left.wrapping_sub(right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn policies() {
        let next = |policy: &str, file, last, now| SerialPolicy::parse(policy).unwrap().next(file, last, now);
        assert_eq!(next("increment", 2026112501, None, 0), 2026112501);
        assert_eq!(next("increment", 2026112501, Some(2026112501), 0), 2026112502);
        assert_eq!(next("increment", 2026112501, Some(2026112509), 0), 2026112510);
        assert_eq!(next("increment", 2026112600, Some(2026112509), 0), 2026112600);
        assert_eq!(next("increment", 5, Some(u32::MAX), 0), 5);
        assert_eq!(next("increment", u32::MAX, Some(u32::MAX), 0), 0);
        assert_eq!(next("unixtime", 7, Some(1_790_000_000), 1_790_000_005), 1_790_000_005);
        assert_eq!(next("unixtime", 2026112501, None, 1_790_000_005), 2026112501);
        assert_eq!(next("unixtime", 7, Some(1_790_000_005), 1_790_000_005), 1_790_000_006);
        assert_eq!(next("keep", 7, Some(9), 1_790_000_005), 7);
        assert_eq!(SerialPolicy::parse("up"), None);
    }

    proptest! {
        #[test]
        fn it_grows(file: u32, last: u32, now: u64, unix: bool) {
            let policy = if unix { SerialPolicy::UnixTime } else { SerialPolicy::Increment };
            prop_assert!(is_ahead(policy.next(file, Some(last), now), last));
        }
    }
}
