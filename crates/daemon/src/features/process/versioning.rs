//! `versioning` and `version`: the commit that an app was started from, and the version of its
//! package at that time. A thread reads them after a process was started. They are recorded when a
//! client requests them.

use std::collections::BTreeSet;

use ostler_core::app::package;

use crate::engine::{Ctx, Key};
use crate::platform::rights::Rights;
use crate::platform::working_trees::WorkingTreeQuery;
use crate::state::slots::Slot;

/// Time after a start in which further starts are collected. The reads then delay no start, and
/// instances of one file share a read.
const COLLECT_MS: u64 = 100;
/// Age from which a former daemon has already read the version of a process.
const RECENT_MS: u64 = 10_000;

/// Started instances whose version was not read yet. Results are in the slots.
#[derive(Debug, Default)]
pub(crate) struct Versioning {
    started: BTreeSet<u32>,
}

impl Versioning {
    pub(crate) const NAME: &str = "versioning";
    const LOOK: Key = (Self::NAME, 0);

    fn add(&mut self, ctx: &mut Ctx, id: u32) {
        if self.started.is_empty() {
            ctx.outbox.timers.set(Self::LOOK, Some(ctx.now.mono_ms + COLLECT_MS));
        }
        self.started.insert(id);
    }
}

/// Requests a read of the instance's folder.
fn request_read(ctx: &mut Ctx, id: u32) {
    let Some(slot) = ctx.state.slots.get(id) else { return };
    let user = Rights::of(slot.spec()).user().cloned();
    let of = (id, slot.newest_inc());
    let folder = is_wanted(slot).then(|| slot.spec().cwd.clone().into());
    ctx.io.working_trees.query(WorkingTreeQuery { process: of, folder, package: package::folder(slot.spec()), user });
}

/// Returns false if `vizion: false` turns it off.
fn is_wanted(slot: &Slot) -> bool {
    !slot.spec().given.is("vizion", false)
}

impl Versioning {
    /// Reads the version of each running app that the former daemon may not have read before it
    /// died.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        let now_ms = ctx.now.mono_ms;
        let is_new = |slot: &Slot| {
            let start = slot.durable.instance.counters.last_start;
            start.is_some_and(|at| now_ms.saturating_sub(at.mono_ms) < RECENT_MS)
        };
        let is_open = |slot: &&Slot| slot.durable.instance.pid().is_some() && (slot.durable.learned.working_tree.is_none() || is_new(slot));
        let open: Vec<u32> = ctx.state.slots.iter().filter(is_open).map(|slot| slot.durable.id).collect();
        open.into_iter().for_each(|id| self.add(ctx, id));
    }

    pub(crate) fn on_spawn(&mut self, ctx: &mut Ctx, id: u32) {
        self.add(ctx, id);
    }

    pub(crate) fn on_forgotten(&mut self, _ctx: &mut Ctx, id: u32) {
        self.started.remove(&id);
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        std::mem::take(&mut self.started).into_iter().for_each(|id| request_read(ctx, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};
    use ostler_core::app::AppSpec;
    use ostler_core::app::git::WorkingTree;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const HASH: &str = "8bd0f60ef66bd0c9f0d63c4c0d3a3d3c1e2f4a5b";

    fn revision(played: &mut TestContext, id: u32) -> Option<String> {
        played.ctx.record_findings();
        Some(played.ctx.state.slots.get(id)?.durable.learned.working_tree.as_ref()?.revision.clone())
    }

    #[test]
    fn instance_keeps_the_commit_of_its_start() {
        let mut played = TestContext::new(&[Versioning::NAME]);
        let mut versioning = Versioning::default();
        let cwd = played.home().join("app");
        std::fs::create_dir_all(cwd.join(".git")).unwrap();
        std::fs::write(cwd.join(".git/HEAD"), HASH).unwrap();
        let app = |vizion: bool| AppSpec {
            name: "api".into(),
            script: "/srv/api".into(),
            cwd: cwd.display().to_string(),
            given: serde_json::Map::from_iter([("vizion".to_owned(), vizion.into())]).into(),
            ..AppSpec::default()
        };
        let (with, without) = (played.instance(app(true)), played.instance(app(false)));
        let old = Some(Arc::new(WorkingTree { root: "/".into(), revision: "old".into(), branch: None, url: None }));
        played.ctx.state.slots.set_working_tree(without, old);
        for id in [with, without] {
            versioning.on_spawn(&mut played.ctx, id);
        }
        assert_eq!(revision(&mut played, with), None, "nothing of it is on the way of the start");
        played.pass(&mut versioning, COLLECT_MS);
        let until = Instant::now() + Duration::from_secs(20);
        while revision(&mut played, with).is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        let until = Instant::now() + Duration::from_secs(20);
        while revision(&mut played, without).is_some() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!((revision(&mut played, with).as_deref(), revision(&mut played, without)), (Some(HASH), None));
        std::fs::write(cwd.join(".git/HEAD"), HASH.replace('8', "9")).unwrap();
        assert_eq!(revision(&mut played, with).as_deref(), Some(HASH), "a later commit does not run");
    }

    reacts!(Versioning: on_forgotten, on_timer);
}
