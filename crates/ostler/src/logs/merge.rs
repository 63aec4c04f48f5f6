//! Lines of the past of several logs, in the order of their times. Pure.

use ostler_core::logs::line_times::line::LineTime;

use super::follow::Line;

/// Most bytes of lines that are kept until they can be shown in order.
const MOST_BYTES: usize = 64 << 20;

/// A line and its times.
#[derive(Debug)]
struct PastLine {
    /// Number of its log.
    log: usize,
    text: Vec<u8>,
    time: LineTime,
    /// Time by which it is sorted.
    at_ms: Option<u64>,
    /// Whether the rest of the line has not arrived yet.
    is_partial: bool,
}

/// Collected lines.
#[derive(Debug)]
pub(super) struct PastLines {
    lines: Vec<PastLine>,
    bytes: usize,
    /// Time of the last change of each log.
    changed_ms: Vec<u64>,
    /// Time of the last line of each log.
    newest_ms: Vec<Option<u64>>,
    is_full: bool,
}

impl PastLines {
    /// Collects lines of logs that were last changed at these times.
    pub(super) fn new(changed_ms: Vec<u64>) -> Self {
        Self { lines: Vec::new(), bytes: 0, newest_ms: vec![None; changed_ms.len()], changed_ms, is_full: false }
    }

    /// Adds the next line of a log. A line without a time is sorted by the time of the line before
    /// it in its log. `is_partial`: the next call adds the rest of the line.
    pub(super) fn push(&mut self, log: usize, text: &[u8], time: LineTime, is_partial: bool) {
        let Some(newest) = self.newest_ms.get_mut(log) else { return };
        match self.lines.last_mut().filter(|last| last.log == log && last.is_partial) {
            Some(last) => {
                last.text.extend_from_slice(text);
                last.is_partial = is_partial;
            }
            None => {
                // The lines of a log keep their order, even if their times go back.
                *newest = (*newest).max(time.at_ms());
                self.lines.push(PastLine { log, text: text.to_vec(), time, at_ms: *newest, is_partial });
            }
        }
        self.bytes += text.len() + size_of::<PastLine>();
        self.is_full |= self.bytes >= MOST_BYTES;
    }

    /// Returns true if no more lines should be kept.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Passes on all lines in their order, each with the number of its log.
    ///
    /// Lines before the first time in their log have that time. If a log has no times, its lines
    /// stay together at the time of its last change.
    pub(super) fn drain(&mut self, each: &mut dyn FnMut(usize, &Line<'_>)) {
        let mut lines = std::mem::take(&mut self.lines);
        let mut first_ms: Vec<Option<u64>> = vec![None; self.changed_ms.len()];
        for line in &lines {
            first_ms[line.log] = first_ms[line.log].or(line.at_ms);
        }
        let time = |line: &PastLine| line.at_ms.or(first_ms[line.log]).unwrap_or(self.changed_ms[line.log]);
        lines.sort_by_key(time);
        self.bytes = 0;
        for PastLine { log, text, time, is_partial, .. } in &lines {
            each(*log, &Line { time: *time, is_partial: *is_partial, ..Line::past(text) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(changed_ms: &[u64], lines: &[(usize, &str, Option<u64>)]) -> String {
        let mut past = PastLines::new(changed_ms.to_vec());
        lines
            .iter()
            .for_each(|(log, text, at_ms)| past.push(*log, text.as_bytes(), at_ms.map_or(LineTime::Unknown, LineTime::Carried), false));
        let mut shown = Vec::new();
        past.drain(&mut |_, line| shown.push(String::from_utf8_lossy(line.text).into_owned()));
        past.drain(&mut |_, _| panic!("each line is passed on once"));
        shown.join(" ")
    }

    #[test]
    fn lines_of_several_logs_are_ordered_by_time() {
        let lines = [
            (0, "a1", Some(10)),
            (0, "a2", None),
            (0, "a3", Some(30)),
            (1, "b0", None),
            (1, "b1", Some(20)),
            (1, "b2", Some(40)),
            (1, "b3", Some(5)),
        ];
        assert_eq!(merged(&[0, 0], &lines), "a1 a2 b0 b1 a3 b2 b3");
        assert_eq!(merged(&[0, 0], &[(0, "a", Some(7)), (1, "b", Some(7)), (0, "c", Some(7))]), "a b c");
        assert_eq!(merged(&[], &[]), "");
    }

    #[test]
    fn log_without_times_stays_together_at_its_last_change() {
        let lines = [(0, "a1", None), (0, "a2", None), (1, "b1", Some(10)), (1, "b2", Some(30))];
        assert_eq!(merged(&[20, 30], &lines), "b1 a1 a2 b2");
        assert_eq!(merged(&[40, 30], &lines), "b1 b2 a1 a2");
    }

    #[test]
    fn pieces_of_a_line_stay_one_line() {
        let mut past = PastLines::new(vec![0, 0]);
        past.push(0, b"a long ", LineTime::Carried(5), true);
        past.push(0, b"line", LineTime::Unknown, false);
        past.push(1, b"open", LineTime::Carried(9), true);
        let mut shown = Vec::new();
        past.drain(&mut |log, line| shown.push((log, String::from_utf8_lossy(line.text).into_owned(), line.is_partial)));
        assert_eq!(shown, [(0, "a long line".to_owned(), false), (1, "open".to_owned(), true)]);
    }

    #[test]
    fn memory_for_lines_is_bounded() {
        let mut past = PastLines::new(vec![0]);
        let line = vec![b'x'; 1 << 20];
        let kept = (0..).take_while(|_| {
            past.push(0, &line, LineTime::Unknown, false);
            !past.is_full()
        });
        assert!(kept.count() <= 64);
    }
}
