//! Memory of a process, from the kernel's account of its pages.

/// Kibibytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Pages no other process has mapped.
    pub private: u64,
    /// Shared pages divided by those who share them.
    pub proportional: u64,
    /// In huge pages: whole ones count, however little of them is used.
    pub huge: u64,
}

/// Zero for a process that is gone.
pub fn of(pid: u32) -> Memory {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let mut memory = Memory::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse::<u64>)) else { continue };
        match name {
            "Private_Clean:" | "Private_Dirty:" => memory.private += value,
            "AnonHugePages:" => memory.huge += value,
            "Pss:" => memory.proportional += value,
            _ => {}
        }
    }
    memory
}

/// What a process calls itself.
pub fn name(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    // Postring's roles write "postring: edge" there.
    match line.trim().strip_prefix("postring: ") {
        Some(role) => role.split_whitespace().next().unwrap_or_default().to_owned(),
        None if line.contains(" up ") => "supervisor".to_owned(),
        None => line.split_whitespace().next().unwrap_or_default().to_owned(),
    }
}
