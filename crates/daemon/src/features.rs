//! All features, one line each. Adding one = its folder, its line here, its records.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::actions::Actions;
use crate::autosave::Autosave;
use crate::autoscale::Autoscale;
use crate::cgroups::Cgroups;
use crate::channels::Channels;
use crate::cluster::Cluster;
use crate::collecting::Collecting;
use crate::commands::Commands;
use crate::cron::Cron;
use crate::doors::native::Native;
use crate::doors::pm2::Pm2Sockets;
use crate::drains::Drains;
use crate::engine::{Ctx, Feature};
use crate::events::Events;
use crate::flush::Flush;
use crate::handover::Handover;
use crate::health::HealthChecks;
use crate::home_watch::HomeWatch;
use crate::hooks::Hooks;
use crate::host::Host;
use crate::input::Input;
use crate::inspector::InspectorPorts;
use crate::jobs::Jobs;
use crate::keeper_watch::KeeperWatch;
use crate::last_lines::LastLines;
use crate::lifetime::Lifetime;
use crate::limits::Limits;
use crate::log_writers::LogWriters;
use crate::order::Order;
use crate::pid_files::PidFiles;
use crate::pm2_log::Pm2Log;
use crate::preload::Preload;
use crate::readiness::Readiness;
use crate::reclaim::Reclaim;
use crate::remediation::Remediation;
use crate::rollouts::Rollouts;
use crate::rotation::Rotation;
use crate::runtime::Runtime;
use crate::sockets::Sockets;
use crate::store::Record;
use crate::sweeps::Sweeps;
use crate::tracing::Tracing;
use crate::update::Update;
use crate::usage::Usage;
use crate::vanished::Vanished;
use crate::versioning::Versioning;
use crate::watch::Watches;

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
