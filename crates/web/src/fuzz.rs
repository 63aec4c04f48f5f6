//! Checks of the readers of this crate for any bytes. The crate `ostler-fuzzing` runs them; see
//! `docs/fuzzing.md`.

pub use crate::metrics::scrape::fuzz::prometheus_page;
pub use crate::otlp::fuzz::otlp_gzip;
pub use crate::routes::fuzz::web_request;
