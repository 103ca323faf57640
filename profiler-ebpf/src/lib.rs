//! Placeholder for the kernel programs.
