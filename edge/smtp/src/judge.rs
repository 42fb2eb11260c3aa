//! Whether content that came by its length (BDAT) may be kept: the same flaws as in DATA's, told without moving anything.
//!
//! Apart from [`BodyDecoder`](crate::BodyDecoder), which finds them while it looks for dots, because in a chunk a dot means nothing.
//! Cost: every octet is searched for LF, CR and NUL by vector code; nothing is kept but three flags.

use crate::body::Flaw;
use memchr::{memchr, memchr_iter};

/// Judges one message's content, piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ContentJudge {
    last_was_cr: bool,
    bare_line_end: bool,
    nul: bool,
}

impl ContentJudge {
    /// Takes the next piece.
    pub(crate) fn take(&mut self, content: &[u8]) {
        let Some(last) = content.last() else { return };
        let mut line_ends = 0_usize;
        for at in memchr_iter(b'\n', content) {
            let behind_cr = at.checked_sub(1).map_or(self.last_was_cr, |before| content.get(before) == Some(&b'\r'));
            line_ends += usize::from(behind_cr);
            self.bare_line_end |= !behind_cr;
        }
        // A CR at the end of a piece is judged with the next one.
        let carried = usize::from(self.last_was_cr);
        self.last_was_cr = *last == b'\r';
        let carriage_returns = carried + memchr_iter(b'\r', content).count() - usize::from(self.last_was_cr);
        self.bare_line_end |= carriage_returns != line_ends;
        self.nul |= memchr(0, content).is_some();
    }

    /// The flaw of the whole content, after its last piece.
    pub(crate) fn flaw(&self) -> Option<Flaw> {
        if self.bare_line_end || self.last_was_cr { Some(Flaw::BareLineEnd) } else { self.nul.then_some(Flaw::Nul) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_the_letter(content: &[u8]) -> Option<Flaw> {
        let rest: Vec<u8> = String::from_utf8_lossy(content).replace("\r\n", "").into_bytes();
        if rest.contains(&b'\r') || rest.contains(&b'\n') {
            Some(Flaw::BareLineEnd)
        } else {
            content.contains(&0).then_some(Flaw::Nul)
        }
    }

    proptest! {
        #[test]
        fn pieces_are_judged_as_the_whole(content in "[a\r\n\0]{0,12}", pieces in 1..6_usize) {
            let mut judge = ContentJudge::default();
            content.as_bytes().chunks(pieces).for_each(|piece| judge.take(piece));
            prop_assert_eq!(judge.flaw(), by_the_letter(content.as_bytes()));
        }

        #[test]
        fn lines_are_without_flaw(lines in proptest::collection::vec("[.a]{0,3}", 0..6), pieces in 1..6_usize) {
            let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let mut judge = ContentJudge::default();
            content.as_bytes().chunks(pieces).for_each(|piece| judge.take(piece));
            prop_assert_eq!(judge.flaw(), None);
        }
    }
}
