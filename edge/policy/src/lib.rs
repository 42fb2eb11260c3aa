//! Which verdict and which check gives which reply
