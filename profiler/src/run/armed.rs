//! The kernel side, loaded, before anything listens.

use crate::{
    config::Sampling,
    kernel::{
        self, Control as _, ControlError, Counters, KernelControl, Limits, LoadError, Loaded,
        MappingNotices, Ring, Usage,
    },
    rights::Finding,
};

/// The kernel side, loaded, with nothing listening yet.
pub struct Armed {
    /// What the control plane talks to.
    pub control: KernelControl,
    pub(super) ring: Ring,
    pub(super) counters: Counters,
    /// Reports what the kernel programs and maps cost; the caller may take it.
    pub usage: Usage,
    pub(super) limits: Limits,
    /// What is missing, and not so much that nothing works.
    lacks: Vec<Finding>,
    /// `None` if the kernel does not tell.
    pub(super) mappings: Option<MappingNotices>,
    pub(super) keeps_probes: bool,
    pub(super) not_recorded_ids: bool,
    pub(super) is_sampling: bool,
}

impl Armed {
    /// Says what is missing, and what that costs.
    pub fn tell_lacks(&self) {
        for lack in &self.lacks {
            tracing::warn!("{lack}");
        }
    }

    /// Starts the sampling clock already, for what must be sampled before the session starts.
    pub fn start_sampling(&mut self) -> Result<(), ControlError> {
        self.is_sampling = true;
        self.control.start_sampling()
    }
}

/// Loads the kernel side.
pub fn arm(sampling: &Sampling) -> Result<Armed, LoadError> {
    let settings = kernel::Settings {
        tick: sampling.tick(),
        ring_size: sampling.ring_size,
        limits: sampling.limits,
        python_depth: sampling.python_depth,
        debug: sampling.bpf_log,
        time_stages: sampling.time_stages,
        programs: sampling.kernel_programs,
        probe_routes: sampling.probe_routes.clone(),
    };
    let Loaded {
        control,
        ring,
        counters,
        lacks,
        usage,
    } = kernel::load(&settings)?;
    let mappings = MappingNotices::open()
        .inspect_err(|error| {
            tracing::warn!(
                "the kernel does not tell of mapped libraries ({error}): those loaded late are found within 5 s"
            );
        })
        .ok();
    Ok(Armed {
        control,
        ring,
        counters,
        usage,
        limits: sampling.limits,
        lacks,
        mappings,
        keeps_probes: sampling.keeps_probes,
        not_recorded_ids: sampling.not_recorded_ids,
        is_sampling: false,
    })
}
