//! The program's allocator.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives what this thread has freed back to the kernel now. Without it mimalloc does so at some later allocation of the same thread, which for a thread
/// that read a large list and then waits may be never.
#[allow(unsafe_code)] // the safe crate of the allocator does not offer it
pub fn release() {
    // SAFETY: the function takes no memory of ours, and may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
