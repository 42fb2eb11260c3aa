//! What is sent at once.

use super::batch::Batch;
use super::origin::Origin;
use super::{CONTROL_WORDS, Control, NO_VECTOR, no_header};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Answers in one message; older kernels take no more (UDP_MAX_SEGMENTS).
const SEGMENTS_MAX: usize = 64;
/// Octets in one message: what IPv4 allows with its headers, and some room.
const SEGMENTED_BYTES_MAX: usize = 65_000;
/// Batches without a pair until pairs are looked for again.
const JOINING_RETRIED: u32 = 32;
/// Batches after the kernel has refused a pair.
const JOINING_REFUSED: u32 = 10_000;

/// What goes out together.
///
/// Answers of equal length to one client, and a shorter one behind them, are one message to the kernel (UDP generic segmentation offload): it
/// goes its way through the kernel, or to the network card, once. That helps where many questions come from one port: forwarders, load
/// generators. Most resolvers have a port for each question, so after batches without a pair it is tried less often.
pub(in crate::dns) struct Outgoing {
    answers: Box<[Vec<u8>]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    controls: Box<[Control]>,
    /// What is sent, those that may go together side by side: (client and length, slot).
    order: Vec<(u64, usize)>,
    /// Of each header, its first place in `order`, and how many.
    runs: Vec<(usize, usize)>,
    joining: Joining,
}

/// Whether looking for pairs pays.
#[derive(Default)]
struct Joining {
    /// Batches to go before it is tried again.
    rest: u32,
}

impl Outgoing {
    /// One answer for each of `slots`, of `answer_bytes` without an allocation.
    pub(in crate::dns) fn new(slots: usize, answer_bytes: usize) -> Self {
        Self {
            answers: (0..slots).map(|_| Vec::with_capacity(answer_bytes)).collect(),
            vectors: vec![NO_VECTOR; slots].into_boxed_slice(),
            headers: vec![no_header(); slots].into_boxed_slice(),
            controls: vec![[0; CONTROL_WORDS]; slots].into_boxed_slice(),
            order: Vec::with_capacity(slots),
            runs: Vec::with_capacity(slots),
            joining: Joining::default(),
        }
    }

    /// The place of the answer to the datagram in `slot`; empty: none is sent.
    pub(in crate::dns) fn answer(&mut self, slot: usize) -> Option<&mut Vec<u8>> {
        self.answers.get_mut(slot)
    }

    /// Sends the answers to the batch's datagrams; gives how many the kernel took. What does not go now is dropped: a client asks again, and
    /// waiting would let one slow interface stop a shard.
    pub(in crate::dns) fn send(&mut self, socket: BorrowedFd<'_>, batch: &Batch) -> usize {
        self.order.clear();
        self.runs.clear();
        let answers = self.answers.iter().zip(&batch.origins).take(batch.received).enumerate();
        let outgoing = answers.filter(|(_, (answer, _))| !answer.is_empty());
        self.order.extend(outgoing.map(|(slot, (answer, origin))| (origin.run_key(answer.len()), slot)));
        if self.joining.begin(self.order.len()) {
            self.order.sort_unstable();
            self.run_together(batch);
            self.joining.end(self.order.len() > self.runs.len());
        } else {
            self.runs.extend((0..self.order.len()).map(|place| (place, 1)));
        }
        self.point(batch);
        let sent = self.send_runs(socket, batch);
        self.answers.iter_mut().take(batch.received).for_each(Vec::clear);
        sent
    }

    /// Finds what can be one message.
    fn run_together(&mut self, batch: &Batch) {
        let part = |place: usize| {
            let slot = self.order.get(place)?.1;
            Some((batch.origins.get(slot)?, self.answers.get(slot)?.len()))
        };
        let mut begin = 0;
        while let Some((origin, length)) = part(begin) {
            let mut end = begin + 1;
            while end - begin < SEGMENTS_MAX
                && (end + 1 - begin) * length <= SEGMENTED_BYTES_MAX
                && part(end - 1).is_some_and(|(_, last)| last == length)
                && part(end).is_some_and(|(other, next)| next <= length && other.is_same(origin))
            {
                end += 1;
            }
            self.runs.push((begin, end - begin));
            begin = end;
        }
    }

    /// Points headers at the answers.
    fn point(&mut self, batch: &Batch) {
        for (vector, (_, slot)) in self.vectors.iter_mut().zip(&self.order) {
            if let Some(answer) = self.answers.get_mut(*slot) {
                *vector = libc::iovec { iov_base: answer.as_mut_ptr().cast(), iov_len: answer.len() };
            }
        }
        for ((header, control), &(begin, count)) in self.headers.iter_mut().zip(self.controls.iter_mut()).zip(&self.runs) {
            let vectors = self.vectors.get_mut(begin..begin + count).unwrap_or_default();
            let origin = self.order.get(begin).and_then(|(_, slot)| batch.origins.get(*slot)).unwrap_or(&Origin::EMPTY);
            let length = vectors.first().map_or(0, |vector| vector.iov_len);
            let header = &mut header.msg_hdr;
            fill(header, origin, vectors);
            if count > 1 {
                header.msg_controllen = origin.with_segment_size(length, control) as _;
                header.msg_control = control.as_mut_ptr().cast();
            }
        }
    }

    #[allow(unsafe_code)] // see JUSTIFICATION above
    fn send_runs(&mut self, socket: BorrowedFd<'_>, batch: &Batch) -> usize {
        let (mut begun, mut sent) = (0, 0);
        // Every turn sends or skips one at least.
        while let Some(headers) = self.headers.get_mut(begun..self.runs.len()).filter(|headers| !headers.is_empty()) {
            let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
            // SAFETY: `point` has pointed each of these headers at answers, an address and a control part of the length beside it, in boxes
            // that are borrowed until this returns and were not touched since; the kernel only reads what is sent.
            let taken = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
            let runs = self.runs.get(begun..).unwrap_or_default();
            match usize::try_from(taken) {
                Ok(taken) => {
                    sent += runs.iter().take(taken).map(|run| run.1).sum::<usize>();
                    begun += taken.max(1);
                }
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() == io::ErrorKind::WouldBlock {
                        break;
                    }
                    // The error is of the first one alone, or of an earlier answer whose client is gone.
                    if let Some(&(begin, count)) = runs.first().filter(|run| run.1 > 1) {
                        // An interface that cannot, or a path narrower than an answer.
                        tracing::debug!("answers could not be sent together: {error}");
                        self.joining.rest = JOINING_REFUSED;
                        let each = self.order.iter().skip(begin).take(count);
                        let each = each.filter_map(|(_, slot)| batch.origins.get(*slot).zip(self.answers.get(*slot)));
                        sent += each.filter(|(origin, answer)| send_one(socket, origin, answer).is_ok()).count();
                    }
                    begun += 1;
                }
            }
        }
        sent
    }
}

impl Joining {
    fn begin(&mut self, answers: usize) -> bool {
        self.rest = self.rest.saturating_sub(1);
        self.rest == 0 && answers > 1
    }

    fn end(&mut self, found: bool) {
        self.rest = if found { 0 } else { JOINING_RETRIED };
    }
}

/// Sends one answer, as [`Outgoing::send`] does.
///
/// # Errors
/// The socket's; `WouldBlock` if its buffer is full.
#[allow(unsafe_code)] // see JUSTIFICATION above
pub(in crate::dns) fn send_one(socket: BorrowedFd<'_>, origin: &Origin, answer: &[u8]) -> io::Result<()> {
    let mut vector = libc::iovec { iov_base: answer.as_ptr().cast_mut().cast(), iov_len: answer.len() };
    let mut header = no_header().msg_hdr;
    fill(&mut header, origin, std::slice::from_mut(&mut vector));
    // SAFETY: the header points at the answer, and at an address and a control part that are borrowed for the call; the kernel only reads
    // what is sent.
    match unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// For sending: the kernel only reads what the header points at.
fn fill(header: &mut libc::msghdr, origin: &Origin, vectors: &mut [libc::iovec]) {
    header.msg_name = origin.address.as_ptr().cast_mut().cast();
    header.msg_namelen = origin.address_bytes;
    header.msg_iov = vectors.as_mut_ptr();
    // The type of the field differs between C libraries.
    header.msg_iovlen = vectors.len() as _;
    let control = origin.control_bytes;
    header.msg_control = if control == 0 { std::ptr::null_mut() } else { origin.control.as_ptr().cast_mut().cast() };
    header.msg_controllen = control as _;
    header.msg_flags = 0;
}
