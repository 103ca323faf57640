//! [`NamedSample`](crate::symbolize::NamedSample) → profile. Pure.
