//! Packets for the daemon: lines as frames of PM2's bus, each with its position, and changes of files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ostler_proto::pm2::{LogPlace, LogPlaces, Packet};

use super::follow::{Line, ReadPosition};
use crate::render::Out;

/// A file that the daemon knows.
#[derive(Clone, Copy, Debug)]
struct KnownFile {
    number: u32,
    place: ReadPosition,
}

/// State of the files as the daemon knows it.
#[derive(Debug, Default)]
pub(super) struct BusPackets {
    known: HashMap<PathBuf, Vec<KnownFile>>,
    next: u32,
    has_begun: bool,
    buffer: Vec<u8>,
}

impl BusPackets {
    /// Sends a line with its frame.
    pub(super) fn line(&mut self, out: &mut Out, path: &Path, line: &Line<'_>, frame: &[u8]) {
        let Some(place) = line.place else { return };
        let is_it = |known: &KnownFile| known.place.key == place.key && known.place.since_ms == place.since_ms;
        let known = self.known.get_mut(path).and_then(|all| all.iter_mut().find(|known| is_it(known)));
        let number = match known {
            Some(known) => {
                known.place.end = place.end;
                known.number
            }
            None => {
                let number = self.open(out, path, ReadPosition { end: line.start, ..place });
                if let Some(known) = self.known.get_mut(path).and_then(|all| all.iter_mut().find(|known| known.number == number)) {
                    known.place.end = place.end;
                }
                number
            }
        };
        self.put(out, &Packet::Line { file: number, end: place.end, frame });
    }

    /// Sends the positions from which a log is now read.
    pub(super) fn places(&mut self, out: &mut Out, path: &Path, places: &[ReadPosition]) {
        let known =
            |packets: &Self, place: &ReadPosition| packets.known.get(path).is_some_and(|all| all.iter().any(|known| known.place == *place));
        for place in places {
            if !known(self, place) {
                self.open(out, path, *place);
            }
        }
        let is_gone = |known: &&KnownFile| !places.iter().any(|place| place.key == known.place.key);
        let gone: Vec<u32> = self.known.get(path).into_iter().flatten().filter(is_gone).map(|known| known.number).collect();
        for number in gone {
            self.put(out, &Packet::Gone { file: number });
            self.known.values_mut().for_each(|all| all.retain(|known| known.number != number));
        }
    }

    /// Reports once that all positions are known. Files that nothing reads yet keep the positions
    /// that were given.
    pub(super) fn begin(&mut self, out: &mut Out, positions: &LogPlaces) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let missing = |place: &&LogPlace| !self.known.contains_key(Path::new(&place.path));
        let missing: Vec<LogPlace> = positions.files.iter().filter(missing).cloned().collect();
        for LogPlace { path, dev, ino, end, since_ms } in missing {
            self.open(out, Path::new(&path), ReadPosition { key: (dev, ino), end, since_ms });
        }
        self.put(out, &Packet::Started { at_ms: positions.at_ms });
    }

    fn open(&mut self, out: &mut Out, path: &Path, place: ReadPosition) -> u32 {
        let all = self.known.entry(path.to_owned()).or_default();
        let number = match all.iter_mut().find(|known| known.place.key == place.key) {
            Some(known) => {
                known.place = place;
                known.number
            }
            None => {
                self.next += 1;
                all.push(KnownFile { number: self.next, place });
                self.next
            }
        };
        let ReadPosition { key: (dev, ino), end, since_ms } = place;
        // The paths came from JSON, so the conversion loses nothing.
        let path = path.to_string_lossy().into_owned();
        self.put(out, &Packet::File { file: number, place: LogPlace { path, dev, ino, end, since_ms } });
        number
    }

    fn put(&mut self, out: &mut Out, packet: &Packet<'_>) {
        self.buffer.clear();
        packet.encode(&mut self.buffer);
        out.data(&self.buffer);
    }
}
