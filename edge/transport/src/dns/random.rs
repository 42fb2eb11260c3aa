//! Unpredictable numbers, fetched from the kernel many at a time.

use std::io;

/// Octets fetched at once: one system call for a hundred questions and more.
const POOL_BYTES: usize = 512;

/// What the kernel gave and nobody has used yet.
#[derive(Default)]
pub(super) struct Random {
    pool: Vec<u8>,
}

impl Random {
    /// 16 bits. Costs a system call each 256.
    ///
    /// # Errors
    /// The system has no randomness: nothing that must be guessed should be sent.
    pub(super) fn next(&mut self) -> io::Result<u16> {
        loop {
            if let (Some(high), Some(low)) = (self.pool.pop(), self.pool.pop()) {
                return Ok(u16::from_be_bytes([high, low]));
            }
            self.pool.resize(POOL_BYTES, 0);
            if let Err(error) = getrandom::fill(&mut self.pool) {
                self.pool.clear();
                return Err(io::Error::other(error));
            }
        }
    }

    /// A number from `first` on, every one as likely.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(super) fn at_least(&mut self, first: u16) -> io::Result<u16> {
        loop {
            let number = self.next()?;
            if number >= first {
                return Ok(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_keep_their_bound() {
        let mut random = Random::default();
        let numbers: std::collections::HashSet<u16> = (0..1000).map(|_| random.at_least(1024).unwrap()).collect();
        assert!(numbers.len() > 900);
        assert!(numbers.iter().all(|number| *number >= 1024));
    }
}
