//! Role scan: workers without network or mail files
