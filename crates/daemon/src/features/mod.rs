//! All features, one line each. Adding one = its folder, its line here, its records.

pub(crate) mod health;
pub(crate) mod home;
pub(crate) mod logging;
pub(crate) mod process;
pub(crate) mod requests;
pub(crate) mod rollouts;
pub(crate) mod schedule;
pub(crate) mod serving;

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::api::native::Native;
use crate::api::pm2::Pm2Sockets;
use crate::engine::{Ctx, Feature};
use crate::features::health::autoscale::Autoscale;
use crate::features::health::checks::HealthChecks;
use crate::features::health::lifetime::Lifetime;
use crate::features::health::limits::Limits;
use crate::features::health::remediation::Remediation;
use crate::features::health::usage::Usage;
use crate::features::home::autosave::Autosave;
use crate::features::home::home_watch::HomeWatch;
use crate::features::home::host::Host;
use crate::features::home::keeper_watch::KeeperWatch;
use crate::features::home::runtime::Runtime;
use crate::features::home::update::Update;
use crate::features::logging::flush::Flush;
use crate::features::logging::last_lines::LastLines;
use crate::features::logging::log_writers::LogWriters;
use crate::features::logging::pm2_log::Pm2Log;
use crate::features::logging::reclaim::Reclaim;
use crate::features::logging::rotation::Rotation;
use crate::features::process::cgroups::Cgroups;
use crate::features::process::handover::Handover;
use crate::features::process::input::Input;
use crate::features::process::inspector::InspectorPorts;
use crate::features::process::pid_files::PidFiles;
use crate::features::process::preload::Preload;
use crate::features::process::sweeps::Sweeps;
use crate::features::process::tracing::Tracing;
use crate::features::process::vanished::Vanished;
use crate::features::process::versioning::Versioning;
use crate::features::process::watch::Watches;
use crate::features::requests::actions::Actions;
use crate::features::requests::collecting::Collecting;
use crate::features::requests::events::Events;
use crate::features::requests::jobs::Jobs;
use crate::features::rollouts::Rollouts;
use crate::features::schedule::commands::Commands;
use crate::features::schedule::cron::Cron;
use crate::features::schedule::hooks::Hooks;
use crate::features::schedule::order::Order;
use crate::features::serving::channels::Channels;
use crate::features::serving::cluster::Cluster;
use crate::features::serving::drains::Drains;
use crate::features::serving::readiness::Readiness;
use crate::features::serving::sockets::Sockets;
use crate::state::store::Record;

macro_rules! features {
    ($($field:ident: $feature:ty),* $(,)?) => {
        /// The state of each feature.
        #[derive(Debug, Default)]
        pub(crate) struct Features {
            $(pub $field: $feature),*
        }

        impl Features {
            /// Names by which the engine finds the owner of a deadline or a descriptor.
            pub(crate) const NAMES: &[&str] = &[$(<$feature>::NAME),*];

            /// All features, each in its turn.
            pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut dyn Feature> {
                let all: [&mut dyn Feature; Self::NAMES.len()] = [$(&mut self.$field),*];
                all.into_iter()
            }

            fn all(&self) -> impl Iterator<Item = &dyn Feature> {
                let all: [&dyn Feature; Self::NAMES.len()] = [$(&self.$field),*];
                all.into_iter()
            }

            /// Records that a journal that is written anew must have of them.
            pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
                self.all().flat_map(Feature::records)
            }

            /// Descriptors that a new keeper is to hold for them.
            pub(crate) fn held<'a>(&'a self, ctx: &'a Ctx) -> impl Iterator<Item = (String, BorrowedFd<'a>)> {
                self.all().flat_map(move |feature| feature.held(ctx))
            }

            /// Offers a descriptor that the keeper held while there was no daemon. Returns what is nobody's.
            pub(crate) fn take_back(&mut self, ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
                self.each().try_fold(fd, |fd, feature| feature.take_back(ctx, name, fd))
            }

            /// The feature with this name.
            pub(crate) fn named(&mut self, name: &str) -> Option<&mut dyn Feature> {
                match name {
                    $(<$feature>::NAME => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

// What replaces processes comes before what waits for others.
features! {
    // The report of a step comes before what follows from it.
    last_lines: LastLines,
    drains: Drains,
    pm2_log: Pm2Log,
    pid_files: PidFiles,
    handover: Handover,
    log_writers: LogWriters,
    reclaim: Reclaim,
    sweeps: Sweeps,
    rollouts: Rollouts,
    remediation: Remediation,
    // Who asks whether any command runs is called for an end after it is noted.
    commands: Commands,
    jobs: Jobs,
    order: Order,
    // When nothing is left to do for anybody before it; and it decides first what a signal means.
    runtime: Runtime,
    actions: Actions,
    collecting: Collecting,
    autosave: Autosave,
    autoscale: Autoscale,
    // The preload passes the port on.
    inspector: InspectorPorts,
    preload: Preload,
    tracing: Tracing,
    input: Input,
    keeper_watch: KeeperWatch,
    channels: Channels,
    cluster: Cluster,
    cron: Cron,
    events: Events,
    flush: Flush,
    health: HealthChecks,
    home: HomeWatch,
    hooks: Hooks,
    host: Host,
    lifetime: Lifetime,
    limits: Limits,
    // What is most likely to fail is prepared first.
    sockets: Sockets,
    readiness: Readiness,
    rotation: Rotation,
    update: Update,
    usage: Usage,
    vanished: Vanished,
    versioning: Versioning,
    watch: Watches,
    cgroups: Cgroups,
    native: Native,
    pm2_sockets: Pm2Sockets,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = Features::NAMES.iter().copied().collect();
        assert_eq!(names.len(), Features::NAMES.len(), "{:?}", Features::NAMES);
    }

    /// Asked in this order when a turn has nothing left to do: what replaces processes, then requests, then who waits for others, and whether all is
    /// over last of them. In front of a container a signal means what was said there, before anybody else takes it.
    #[test]
    fn who_is_asked_before_whom() {
        let names = [Sweeps::NAME, Rollouts::NAME, Remediation::NAME, Jobs::NAME, Order::NAME, Runtime::NAME, HomeWatch::NAME];
        let places = names.map(|name| Features::NAMES.iter().position(|known| *known == name).unwrap());
        assert!(places.is_sorted(), "{:?}", Features::NAMES);
    }
}
