//! Little-endian fields with bounds: the two small helpers under the envelope's and the verdict's formats.

/// Writes into a slice that belongs to somebody else; says no instead of growing.
pub(crate) struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Goes back to an earlier length: a record that did not fit leaves nothing behind.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    #[must_use]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> bool {
        let Some(place) = self.length.checked_add(bytes.len()).and_then(|end| self.buffer.get_mut(self.length..end)) else {
            return false;
        };
        place.copy_from_slice(bytes);
        self.length += bytes.len();
        true
    }

    /// Bytes behind a 16-bit length.
    #[must_use]
    pub(crate) fn short_bytes(&mut self, bytes: &[u8]) -> bool {
        u16::try_from(bytes.len()).is_ok_and(|length| self.bytes(&length.to_le_bytes()) && self.bytes(bytes))
    }

    /// Overwrites bytes written before.
    pub(crate) fn patch(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(place) = self.buffer.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

/// Reads what somebody else has written; every reading may fail, none may panic.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn short_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.bytes(length.into())
    }

    pub(crate) fn short_str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.short_bytes()?).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
