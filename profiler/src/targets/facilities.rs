//! The table of facilities. To add one, add a line.

use std::collections::BTreeSet;

use super::{
    facility::Facility, hook::HookFacility, opentelemetry::ContextFacility, owner::OwnerFacility,
    pyroscope_sdk::SdkFacility, python::PythonFacility,
};
use crate::id::ServiceAttribute;

/// What facilities are to do.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting that has no bearing on the others"
)]
pub struct Settings {
    /// By what the profiles of a service are told apart; by no others, so that those split nothing.
    pub told_apart: BTreeSet<ServiceAttribute>,
    /// Whether the probes of every hook are on, needed or not.
    pub keep_probes: bool,
    /// Whether the ids of spans that are not recorded are read.
    pub not_recorded_ids: bool,
    /// Whether to say of each service once that it is profiled by `pyroscope-io`, too.
    pub warn_of_sdks: bool,
    /// Whether to say why a process that runs Python is not profiled, once for each reason.
    pub warn_of_unsupported: bool,
}

/// All facilities, in the order of every verb: one may rely on those before it.
pub fn all(settings: Settings) -> Vec<Box<dyn Facility>> {
    vec![
        Box::new(PythonFacility::new(settings.warn_of_unsupported)),
        Box::new(OwnerFacility::new(settings.told_apart)),
        Box::new(ContextFacility {
            not_recorded_ids: settings.not_recorded_ids,
        }),
        Box::new(HookFacility::new(settings.keep_probes)),
        Box::new(SdkFacility::new(settings.warn_of_sdks)),
    ]
}
