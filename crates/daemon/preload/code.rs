//! Script of the Node preload, joined from its parts, which share one scope. No part runs by
//! itself.

/// Joins files with an empty line between them.
macro_rules! joined {
    ($first:literal $($part:literal)*) => { concat!(include_str!($first) $(, "\n", include_str!($part))*) };
}

pub(crate) const CODE: &str = joined! {
    "parts/begin.cjs"
    "parts/exceptions.cjs"
    "parts/profiles.cjs"
    "parts/beside.cjs"
    "parts/settings.cjs"
    "parts/output.cjs"
    "parts/sticky.cjs"
    "parts/drain.cjs"
    "parts/left.cjs"
    "parts/http1.cjs"
    "parts/stand_in.cjs"
    "parts/http2.cjs"
    "parts/age.cjs"
    "parts/end.cjs"
};
