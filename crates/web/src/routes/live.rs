//! `/api/live`: the table and the events as server-sent events that resume (`Last-Event-ID`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use ostler_proto::control::{Event, Position};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use crate::access::Identity;
use crate::daemon::{EventUpdate, MissedEvents, TableWatch};
use crate::http::reply::{Body, Writer, streamed};
use crate::site::{ClientRequest, Site};
use crate::view;

/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Maximum number of pieces that wait for a slow browser. The writer then waits, too: the next
/// table is the newest one, and some events are lost.
const ROOM: usize = 4;

pub(super) fn answer(site: &Rc<Site>, request: &ClientRequest, identity: Identity) -> Response<Body> {
    let last = request.head.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let after = last.and_then(position);
    let (writer, response) = streamed("text/event-stream", ROOM);
    let site = Rc::clone(site);
    tokio::task::spawn_local(async move {
        // An error means that the reader disconnected.
        let _ = stream(&site, &writer, after, &identity).await;
    });
    response
}

/// The reader disconnected.
struct Disconnected;

async fn stream(site: &Site, writer: &Writer, after: Option<Position>, identity: &Identity) -> Result<(), Disconnected> {
    let mut table_watch = site.daemon.watch_table();
    let mut ending = site.ending.clone();
    if site.daemon.position().is_none() {
        // The dashboard has just started. The missed events are known once the daemon has sent its
        // list.
        table_watch.refresh_table().await;
    }
    let (resumed, position, mut news) = site.daemon.resume(after);
    table_watch.refresh_table().await;
    // Position up to which this reader has all events. It is the id of each table, so that a reader
    // without any event also resumes from there.
    let mut shown_position = after.or(position);
    match resumed {
        MissedEvents::Events(list) => {
            table(writer, &mut table_watch, identity, shown_position).await?;
            for event in list {
                send_event(writer, &event, identity, &table_watch).await?;
            }
        }
        MissedEvents::Lost => {
            send_gap(writer, position).await?;
            table(writer, &mut table_watch, identity, position).await?;
        }
    }
    shown_position = position.or(shown_position);
    loop {
        tokio::select! {
            () = writer.closed() => return Ok(()),
            () = ending.stop_requested() => return Ok(()),
            () = table_watch.changed() => table(writer, &mut table_watch, identity, shown_position).await?,
            came = news.recv() => match came {
                Ok(EventUpdate::Event(event)) => {
                    send_event(writer, &event, identity, &table_watch).await?;
                    shown_position = Some(event.position());
                }
                Ok(EventUpdate::Gap) | Err(RecvError::Lagged(_)) => {
                    // The list that the reader now reads includes all events up to this position.
                    shown_position = site.daemon.position();
                    send_gap(writer, shown_position).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
            () = tokio::time::sleep(HEARTBEAT) => send(writer, Bytes::from_static(b": still here\n\n")).await?,
        }
    }
}

async fn table(
    writer: &Writer,
    table_watch: &mut TableWatch,
    identity: &Identity,
    shown_position: Option<Position>,
) -> Result<(), Disconnected> {
    // Waits for room first, so that the table is the newest when it is sent.
    let room = writer.reserve().await.map_err(|_| Disconnected)?;
    let snapshot = table_watch.newest();
    room.send(piece("table", shown_position, &view::apps(&snapshot, |namespace| identity.sees(namespace))));
    Ok(())
}

async fn send_event(writer: &Writer, event: &Arc<Event>, identity: &Identity, table_watch: &TableWatch) -> Result<(), Disconnected> {
    if !sees(identity, event, table_watch) {
        return Ok(());
    }
    send(writer, piece("event", Some(event.position()), &view::event(event))).await
}

/// Returns true if the event is about an app that this user sees. If the user sees only some
/// namespaces, the app has to be known.
fn sees(identity: &Identity, event: &Event, table_watch: &TableWatch) -> bool {
    identity.sees_all() || event.app.as_ref().is_some_and(|app| table_watch.sees(app, event.id, |namespace| identity.sees(namespace)))
}

async fn send_gap(writer: &Writer, shown_position: Option<Position>) -> Result<(), Disconnected> {
    send(writer, piece("gone", shown_position, &serde_json::json!({}))).await
}

async fn send(writer: &Writer, piece: Bytes) -> Result<(), Disconnected> {
    writer.send(piece).await.map_err(|_| Disconnected)
}

/// Formats one server-sent event. JSON has no line breaks.
fn piece(name: &str, id: Option<Position>, value: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(value).unwrap_or_default();
    let id = id.map(|id| format!("id: {}-{}\n", id.epoch, id.seq)).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n").into()
}

/// Parses the position in an event id.
pub(super) fn position(id: &str) -> Option<Position> {
    let (epoch, seq) = id.split_once('-')?;
    Some(Position { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_parse_and_pieces_are_formatted() {
        assert_eq!(position("81-12"), Some(Position { epoch: 81, seq: 12 }));
        assert!(["", "81", "81-", "-1", "a-b", "1-2-3", "99999999999999999999-1"].iter().all(|id| position(id).is_none()));
        let text = piece("event", position("1-2"), &serde_json::json!({ "text": "a\nb" }));
        assert_eq!(&text[..], b"event: event\nid: 1-2\ndata: {\"text\":\"a\\nb\"}\n\n");
    }
}
