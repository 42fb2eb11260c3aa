//! Serial numbers of zones, which begin again behind 2^32 - 1 (RFC 1982).

/// True if `one` comes behind `other`. Two that are 2^31 apart are behind neither (RFC 1982 section 3.2).
#[must_use]
pub fn is_newer(one: u32, other: u32) -> bool {
    (1..1 << 31).contains(&one.wrapping_sub(other))
}

/// The next serial; never 0, which some take for "none" (RFC 2136 section 4.2).
#[must_use]
pub fn next(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circle() {
        assert!(is_newer(2, 1) && !is_newer(1, 2) && !is_newer(1, 1));
        assert!(is_newer(0, u32::MAX) && is_newer(5, 0xffff_fff0));
        assert!(!is_newer(1 << 31, 0) && !is_newer(0, 1 << 31));
        assert_eq!((next(1), next(u32::MAX)), (2, 1));
        assert!(is_newer(next(u32::MAX), u32::MAX));
    }
}
