//! Which processes are profiled, what they are, what the kernel must know of them.
