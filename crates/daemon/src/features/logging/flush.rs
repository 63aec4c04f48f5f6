//! `flush` command: empties log files.

use ostler_core::logs::files::own_stream;
use ostler_proto::control::{Failure, Request, Response};

use crate::engine::{ClientRequest, Ctx, FeatureAnswer};
use crate::platform::rights::Rights;

/// Handler of `flush`. It has no state.
#[derive(Debug, Default)]
pub(crate) struct Flush;

impl Flush {
    pub(crate) const NAME: &str = "flush";
}

impl Flush {
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let Request::Flush { target, own } = &ask.request else { return Some(ask) };
        let response = flush(ctx, target.as_deref(), own.clone());
        ctx.reply(ask.client, ask.id, response);
        None
    }
}

fn flush(ctx: &mut Ctx, target: Option<&str>, own: Option<String>) -> Response {
    let ids = match target {
        None => ctx.state.slots.iter().map(|slot| slot.durable.id).collect(),
        Some(target) => match ctx.state.slots.select(target, "") {
            Ok(ids) => ids,
            Err(failure) => return Response::Failed(failure),
        },
    };
    let mut logs: Vec<(String, Rights)> = Vec::new();
    if target.is_none() {
        let own = own.unwrap_or_else(|| ctx.io.settings.paths.log.to_string_lossy().into_owned());
        logs.push((own, Rights::default()));
    }
    for slot in ids.iter().filter_map(|id| ctx.state.slots.get(*id)) {
        let files = [&slot.live.files.out, &slot.live.files.error, &slot.live.files.combined];
        for path in files.into_iter().flatten() {
            if !logs.iter().any(|(known, _)| known == path) {
                logs.push((path.clone(), Rights::of(slot.spec())));
            }
        }
    }
    let mut paths: Vec<String> = Vec::new();
    for (path, rights) in logs {
        // Only plain files can be emptied. `/dev/null`, pipes and terminals keep nothing, and the
        // runtime's own output does not belong to the app.
        if own_stream(&path).is_some() {
            continue;
        }
        match rights.empty(path.as_ref()) {
            Ok(true) => {
                ctx.answer(FeatureAnswer::LogRestarted { path: path.clone() });
                paths.push(path);
            }
            Ok(false) => {}
            Err(error) => return Response::Failed(Failure::Other(format!("cannot empty \"{path}\": {error}"))),
        }
    }
    for slot in ids {
        if let Some(slot) = ctx.state.slots.get_mut(slot) {
            slot.durable.log_start = (0, 0);
        }
    }
    Response::Paths(paths)
}
