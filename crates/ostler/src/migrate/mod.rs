//! Parts of `migrate`: PM2's daemon as it is asked, what it runs and how that is moved, what was moved, its boot unit.

mod boot;
mod plan;
mod pm2;
mod record;

pub(crate) use boot::{carry_out, units};
pub(crate) use plan::{App, Found, Way, differing, read};
pub(crate) use pm2::Pm2;
pub(crate) use record::{Moved, Record};
