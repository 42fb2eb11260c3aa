//! DNS without I/O: messages, zones, block lists, cache, resolver
