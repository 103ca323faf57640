//! The only room that talks BPF.
