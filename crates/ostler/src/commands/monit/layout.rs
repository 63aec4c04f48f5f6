//! Layout: which panes are on the screen, and where.

use ostler_core::marked;
use ostler_core::text::language::translated;

use super::cells::Rect;

/// One pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    List,
    Logs,
    Metrics,
    Info,
    Why,
    Events,
}

impl Pane {
    /// All panes, in the order of their numbers.
    pub(super) const ALL: [Self; 6] = [Self::List, Self::Logs, Self::Metrics, Self::Info, Self::Why, Self::Events];

    /// Returns the title; the first four titles are PM2's.
    pub(super) fn title(self) -> &'static str {
        translated(match self {
            Self::List => marked!("Process List"),
            Self::Logs => marked!("Logs"),
            Self::Metrics => marked!("Custom Metrics"),
            Self::Info => marked!("Metadata"),
            Self::Why => marked!("Why"),
            Self::Events => marked!("Events"),
        })
    }

    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|pane| *pane == self).unwrap_or(0)
    }
}

/// Input of the layout.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayoutInput {
    /// Columns and rows.
    pub size: (usize, usize),
    /// Pane with the keyboard focus.
    pub focus: Pane,
    /// Pane of `Info`, `Why` and `Events` that is visible in their shared place.
    pub tab: Pane,
    /// Whether the focused pane fills the screen.
    pub is_zoomed: bool,
}

/// Visible panes, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub header: Option<Rect>,
    pub panes: Vec<(Pane, Rect)>,
    pub footer: Option<Rect>,
}

/// Fewest columns and rows for four panes. A smaller screen shows one pane, or two on top of each
/// other.
const FOUR: (usize, usize) = (70, 14);
const TWO_ROWS: usize = 20;
/// Columns and rows from which five panes are visible.
const FIVE: (usize, usize) = (150, 30);

impl Layout {
    pub(super) fn of(wanted: &LayoutInput) -> Self {
        let (width, height) = wanted.size;
        let line = |y| Rect { x: 0, y, width, height: 1 };
        let header = (height >= 3).then(|| line(0));
        let footer = (height >= 4).then(|| line(height - 1));
        let top = usize::from(header.is_some());
        let body = Rect { x: 0, y: top, width, height: height - top - usize::from(footer.is_some()) };
        Self { header, panes: panes(body, wanted), footer }
    }

    /// Returns the place of a pane, if the pane is visible.
    pub(super) fn place(&self, pane: Pane) -> Option<Rect> {
        self.panes.iter().find(|(seen, _)| *seen == pane).map(|(_, place)| *place)
    }

    /// Returns the pane at a column and row.
    pub(super) fn at(&self, x: usize, y: usize) -> Option<(Pane, Rect)> {
        self.panes.iter().find(|(_, place)| place.has(x, y)).copied()
    }
}

fn panes(body: Rect, wanted: &LayoutInput) -> Vec<(Pane, Rect)> {
    let Rect { x, y, width, height } = body;
    let has_room_for = |(columns, rows): (usize, usize)| width >= columns && height >= rows;
    if wanted.is_zoomed || !has_room_for(FOUR) {
        if wanted.is_zoomed || height < TWO_ROWS {
            return vec![(wanted.focus, body)];
        }
        let upper = height / 2;
        let below = if wanted.focus == Pane::List { Pane::Logs } else { wanted.focus };
        return vec![(Pane::List, Rect { height: upper, ..body }), (below, Rect { y: y + upper, height: height - upper, ..body })];
    }
    let left = (width * 3 / 10).clamp(40, 80);
    let upper = (height * 3 / 5).max(height.saturating_sub(18));
    let (lower_y, lower) = (y + upper, height - upper);
    let (right_x, right) = (x + left, width - left);
    let mut panes = vec![
        (Pane::List, Rect { x, y, width: left, height: upper }),
        (Pane::Logs, Rect { x: right_x, y, width: right, height: upper }),
        (Pane::Metrics, Rect { x, y: lower_y, width: left, height: lower }),
    ];
    let slot = Rect { x: right_x, y: lower_y, width: right, height: lower };
    if has_room_for(FIVE) {
        let info = right / 3;
        panes.push((Pane::Info, Rect { width: info, ..slot }));
        let tab = if wanted.tab == Pane::Info { Pane::Events } else { wanted.tab };
        panes.push((tab, Rect { x: right_x + info, width: right - info, ..slot }));
    } else {
        panes.push((wanted.tab, slot));
    }
    panes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: (usize, usize), focus: Pane, is_zoomed: bool) -> Layout {
        Layout::of(&LayoutInput { size, focus, tab: Pane::Info, is_zoomed })
    }

    #[test]
    fn panes_cover_the_screen_once_at_every_size() {
        for width in (0..240).step_by(7).chain([1, 40, 80, 200]) {
            for height in 0..70 {
                for (focus, is_zoomed) in [(Pane::List, false), (Pane::Events, false), (Pane::Logs, true)] {
                    let layout = layout((width, height), focus, is_zoomed);
                    let mut covered = vec![0; width * height];
                    let places = layout.panes.iter().map(|(_, place)| *place).chain(layout.header).chain(layout.footer);
                    for place in places {
                        for y in place.y..place.y + place.height {
                            for x in place.x..place.x + place.width {
                                covered[y * width + x] += 1;
                            }
                        }
                    }
                    assert!(covered.iter().all(|count| *count == 1), "{width}x{height} {focus:?}");
                }
            }
        }
    }

    #[test]
    fn number_of_panes_follows_terminal_size() {
        let seen = |size, focus| layout(size, focus, false).panes.into_iter().map(|(pane, _)| pane).collect::<Vec<_>>();
        assert_eq!(seen((40, 12), Pane::List), [Pane::List]);
        assert_eq!(seen((40, 12), Pane::Why), [Pane::Why]);
        assert_eq!(seen((40, 40), Pane::List), [Pane::List, Pane::Logs]);
        assert_eq!(seen((80, 24), Pane::List), [Pane::List, Pane::Logs, Pane::Metrics, Pane::Info]);
        assert_eq!(seen((200, 50), Pane::List), [Pane::List, Pane::Logs, Pane::Metrics, Pane::Info, Pane::Events]);
        assert_eq!(layout((200, 50), Pane::Logs, true).panes.len(), 1);
    }
}
