//! Everything the kernel sees.
