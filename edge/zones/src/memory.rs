//! Giving memory back after a large file was read.

use std::sync::OnceLock;

static RELEASE: OnceLock<fn()> = OnceLock::new();

/// Says how the program's allocator gives back what a thread has freed: reading a block list takes several times its size for a moment. Only
/// the first call counts.
pub fn set_release(release: fn()) {
    let _ = RELEASE.set(release);
}

/// To be called by a thread that has read files. Costs up to some milliseconds.
pub(crate) fn release() {
    if let Some(release) = RELEASE.get() {
        release();
    }
}
