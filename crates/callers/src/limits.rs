//! How much of an ingress one caller may use.

/// The limits of a caller at each ingress; an absent one is the default of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerLimits {
    /// Calls per second: 1 to 1,000,000.
    pub calls_per_s: Option<u32>,
    /// Calls at once: 1 to 1,000,000.
    pub calls_max: Option<u32>,
}
