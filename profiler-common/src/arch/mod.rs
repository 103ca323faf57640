//! What the kernel programs and the agent both must know about the machine.
//!
//! Each crate has a folder `arch` with a trait, which lists what an architecture must provide, and a file for each
//! architecture that implements it, of the same name in all three: `profiler-ebpf/src/arch` has registers as the kernel
//! hands them to programs, `profiler/src/arch` the kernel's names of things, and files. All else is the same
//! everywhere, or found out at run time.

mod x86_64;

/// What an architecture provides. Sizes are in bytes.
pub trait Architecture {
    /// The smallest page that a kernel of this architecture has, a power of two. What stays inside one never
    /// touches a page that is not resident.
    const PAGE: u64;

    /// The first address above a process's address space.
    const USER_END: u64;

    /// Offset in a thread control block, to which the thread pointer leads, of the vector of the blocks with the
    /// thread's thread-locals (`dtv`, in glibc and musl).
    const THREAD_VECTOR: u64;

    /// Offset in a frame record, to which the frame pointer leads, of the address of the caller's record.
    const CALLER_FRAME: u16;

    /// Offset in it of the return address.
    const RETURN_ADDRESS: u16;

    /// Bytes of a frame record. Those of callers lie above it.
    const FRAME_RECORD: u64;
}

/// The machine that processes run on. For the kernel programs, `object.rs` beside them sets `bpf_target_arch`: their
/// own target is the same on every machine.
#[cfg(any(target_arch = "x86_64", bpf_target_arch = "x86_64"))]
pub type Machine = x86_64::X86_64;

#[cfg(not(any(target_arch = "x86_64", bpf_target_arch = "x86_64")))]
compile_error!(
    "spanprof runs on x86-64 only. For another architecture, fill in:
     - the trait `Architecture` of profiler-common/src/arch, profiler-ebpf/src/arch and profiler/src/arch, in a file
       of its name in each, and choose it there;
     - profiler-common/src/walk: a thread pointer that is not what pthread_self() returns (aarch64), return addresses
       that are signed (aarch64), callers that the link register alone knows (aarch64);
     - profiler/src/targets/python/thread_local/code.rs and alone.rs: machine code of CPython's functions, decoded;
     - profiler/src/targets/python/place.rs: pages that are larger than the smallest;
     - profiler/src/targets/python/tables.rs and its like: whether CPython's structures are the same (cargo xtask codegen);
     - python/src/probe.rs: the probes of the package, and its ABI.md;
     - profiler-ebpf/object.rs, xtask and tests: targets, interpreters and workloads."
);
