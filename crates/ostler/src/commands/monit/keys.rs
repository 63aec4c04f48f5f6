//! Keys and clicks: how they change the view, and which commands they give.

use ostler_core::{marked, message};

use super::content;
use super::input::{Input, Key};
use super::layout::Pane;
use super::state::{ActionTarget, AppAction, Dialog, FIELDS, MonitState};
use super::targets::target_of;

/// Command that a key gives, apart from a change of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    /// Suspend to the shell, until the shell continues the process.
    Suspend,
    /// Repaint the whole screen, because another program has written on it.
    Repaint,
    Action(AppAction),
}

/// Rows that a turn of the wheel scrolls.
const WHEEL: usize = 3;
/// Longest text that can be typed.
const LONGEST: usize = 64;

/// Keys and their effects, as the help shows them.
pub(super) const KEY_HELP: &[(&str, &str)] = &[
    ("up down, j k", marked!("choose an app; scroll other panes")),
    ("left right, Tab", marked!("move to the next pane")),
    ("1 - 6", marked!("list, logs, metrics, metadata, why, events")),
    ("Enter, z", marked!("show only this pane, and back")),
    ("PgUp PgDn Home End", marked!("scroll by page, to the ends")),
    ("r  R", marked!("restart this instance, the whole app")),
    ("l  L", marked!("reload this instance, the whole app")),
    ("s  S", marked!("stop this instance, the whole app")),
    ("+  -  c", marked!("add an instance, remove one, scale")),
    ("/", marked!("show only apps with this text")),
    ("o  O", marked!("sort by the next field, reverse order")),
    ("Ctrl-L", marked!("redraw the screen")),
    ("Ctrl-Z", marked!("suspend")),
    ("q, Esc, Ctrl-C", marked!("quit")),
];

/// Handles typed input.
pub(super) fn on_input(state: &mut MonitState, input: Input) -> Option<Command> {
    match input {
        Input::Key(Key::Ctrl('l')) => Some(Command::Repaint),
        Input::Key(Key::Ctrl('z')) => Some(Command::Suspend),
        Input::Key(Key::Ctrl('c')) => Some(Command::Quit),
        Input::Key(key) => on_key(state, key),
        Input::Paste(text) => {
            type_text(state, &text);
            None
        }
        Input::Click(x, y) => {
            on_click(state, x, y);
            None
        }
        Input::Wheel { x, y, up } => {
            if let (Dialog::None, Some((pane, _))) = (&state.dialog, state.layout().at(x, y)) {
                scroll(state, pane, up, WHEEL);
            }
            None
        }
    }
}

fn on_key(state: &mut MonitState, key: Key) -> Option<Command> {
    match std::mem::replace(&mut state.dialog, Dialog::None) {
        Dialog::None => on_plain_key(state, key),
        Dialog::Help => None,
        Dialog::Confirm { action, .. } => (key == Key::Char('y')).then_some(Command::Action(action)),
        Dialog::Filter { former } => {
            match key {
                Key::Enter => return None,
                Key::Escape => {
                    state.filter = former;
                    state.arrange();
                    return None;
                }
                _ => {}
            }
            state.dialog = Dialog::Filter { former };
            edit(state, key);
            None
        }
        Dialog::Scale { app, number } => match key {
            Key::Enter if !number.is_empty() => confirm_scale(state, app, number),
            Key::Enter | Key::Escape => None,
            _ => {
                state.dialog = Dialog::Scale { app, number };
                edit(state, key);
                None
            }
        },
    }
}

/// Edits the text that is being typed.
fn edit(state: &mut MonitState, key: Key) {
    match key {
        Key::Char(c) => type_text(state, &c.to_string()),
        Key::Backspace => match &mut state.dialog {
            Dialog::Filter { .. } => {
                state.filter.pop();
                state.arrange();
            }
            Dialog::Scale { number, .. } => drop(number.pop()),
            _ => {}
        },
        Key::Ctrl('u') => match &mut state.dialog {
            Dialog::Filter { .. } => {
                state.filter.clear();
                state.arrange();
            }
            Dialog::Scale { number, .. } => number.clear(),
            _ => {}
        },
        _ => {}
    }
}

/// Adds to the text that is being typed. If no text is being typed, a paste is ignored.
fn type_text(state: &mut MonitState, text: &str) {
    let add = |target: &mut String, is_wanted: fn(char) -> bool| {
        let room = LONGEST.saturating_sub(target.chars().count());
        target.extend(text.chars().filter(|c| is_wanted(*c)).take(room));
    };
    match &mut state.dialog {
        Dialog::Filter { .. } => {
            add(&mut state.filter, |c| !c.is_control());
            state.arrange();
        }
        Dialog::Scale { number, .. } => add(number, |c| c.is_ascii_digit()),
        _ => {}
    }
}

fn on_plain_key(state: &mut MonitState, key: Key) -> Option<Command> {
    let had_message = state.message.take().is_some();
    let page = page(state);
    match key {
        Key::Char('q') => return Some(Command::Quit),
        // Each press closes one thing, until only the program is left.
        Key::Escape if had_message => {}
        Key::Escape if state.is_zoomed => state.is_zoomed = false,
        Key::Escape if !state.filter.is_empty() => {
            state.filter.clear();
            state.arrange();
        }
        Key::Escape => return Some(Command::Quit),
        Key::Up | Key::Char('k') => scroll(state, state.focus, true, 1),
        Key::Down | Key::Char('j') => scroll(state, state.focus, false, 1),
        Key::PageUp => scroll(state, state.focus, true, page),
        Key::PageDown | Key::Char(' ') => scroll(state, state.focus, false, page),
        Key::Home | Key::Char('g') => scroll(state, state.focus, true, usize::MAX),
        Key::End | Key::Char('G') => scroll(state, state.focus, false, usize::MAX),
        Key::Right | Key::Tab => turn(state, 1),
        Key::Left | Key::BackTab => turn(state, -1),
        Key::Enter | Key::Char('z') => state.is_zoomed = !state.is_zoomed,
        Key::Char(c @ '1'..='6') => focus(state, Pane::ALL[c as usize - '1' as usize]),
        Key::Char('m') => focus(state, Pane::Metrics),
        Key::Char('i') => focus(state, Pane::Info),
        Key::Char('w') => focus(state, Pane::Why),
        Key::Char('e') => focus(state, Pane::Events),
        Key::Char('?' | 'h') => state.dialog = Dialog::Help,
        Key::Char('/') => state.dialog = Dialog::Filter { former: state.filter.clone() },
        Key::Char('o') => sort_by_next(state),
        Key::Char('O') => reverse_sort(state),
        Key::Char(c @ ('r' | 'R' | 'l' | 'L' | 's' | 'S' | '+' | '-' | 'c')) => return on_action_key(state, c),
        _ => {}
    }
    None
}

/// Handles a key for the selected instance, or for all instances of its app.
fn on_action_key(state: &mut MonitState, key: char) -> Option<Command> {
    let row = state.row()?;
    let (name, id) = (row.name.clone(), row.id);
    let is_running = !matches!(row.status.as_str(), "stopped" | "errored");
    match key {
        '+' => return Some(Command::Action(AppAction::Scale { app: name, to: "+1".into() })),
        '-' => return confirm_scale(state, name, "-1".into()),
        'c' => {
            state.dialog = Dialog::Scale { app: name, number: String::new() };
            return None;
        }
        _ => {}
    }
    let Some(chosen) = choose(state, &name, id, key.is_ascii_uppercase()) else {
        let text = message!("cannot address {name} ({id}) alone: another app has this number as its name or namespace", name, id);
        state.message = Some((text, false));
        return None;
    };
    match key {
        // A stopped instance is only started, so no process exits and no question is needed.
        'r' if !is_running => Some(Command::Action(AppAction::Restart(chosen))),
        'r' | 'R' => confirm(state, message!("Restart {target}?", target = chosen.words), AppAction::Restart(chosen)),
        's' | 'S' => confirm(state, message!("Stop {target}?", target = chosen.words), AppAction::Stop(chosen)),
        _ => Some(Command::Action(AppAction::Reload(chosen))),
    }
}

/// Chooses one instance, or all instances of the app with this name.
fn choose(state: &MonitState, name: &str, id: u32, all: bool) -> Option<ActionTarget> {
    let ids: Vec<u32> = state.rows.iter().filter(|row| if all { row.name == name } else { row.id == id }).map(|row| row.id).collect();
    let words = match (all, ids.len()) {
        (false, _) => format!("{name} ({id})"),
        (true, 1) => name.to_owned(),
        (true, count) => message!("all {count} instances of {name}", count, name),
    };
    Some(ActionTarget { target: target_of(&state.rows, &ids)?, words })
}

/// Asks for confirmation.
fn confirm(state: &mut MonitState, question: String, action: AppAction) -> Option<Command> {
    state.dialog = Dialog::Confirm { question, action };
    None
}

fn confirm_scale(state: &mut MonitState, app: String, to: String) -> Option<Command> {
    let now = state.rows.iter().filter(|row| row.name == app).count();
    let then = if to == "-1" { now.saturating_sub(1).to_string() } else { to.clone() };
    confirm(state, message!("Scale {app} from {now} to {count}?", app, now, count = then), AppAction::Scale { app, to })
}

fn sort_by_next(state: &mut MonitState) {
    let field = state.sort.split(':').next().unwrap_or_default();
    let next = FIELDS.iter().position(|known| *known == field).map_or(0, |at| (at + 1) % FIELDS.len());
    // For numbers, users want the largest first.
    let direction = if matches!(FIELDS[next], "cpu" | "memory") { ":desc" } else { "" };
    state.sort = format!("{}{direction}", FIELDS[next]);
    state.arrange();
}

fn reverse_sort(state: &mut MonitState) {
    let (field, direction) = state.sort.split_once(':').unwrap_or((&state.sort, "asc"));
    state.sort = if direction == "desc" { field.to_owned() } else { format!("{field}:desc") };
    state.arrange();
}

/// Gives a pane the keyboard focus and makes it visible.
fn focus(state: &mut MonitState, pane: Pane) {
    state.focus = pane;
    if matches!(pane, Pane::Info | Pane::Why | Pane::Events) && state.layout().place(pane).is_none() {
        state.tab = pane;
    }
}

/// Moves the focus by this number of panes.
fn turn(state: &mut MonitState, by: isize) {
    let seen: Vec<Pane> = state.layout().panes.iter().map(|(pane, _)| *pane).collect();
    // If the panes do not fit side by side, the screen shows one at a time, and the focus goes
    // through all of them.
    let panes = if seen.len() > 2 { seen } else { Pane::ALL.to_vec() };
    let at = panes.iter().position(|pane| *pane == state.focus).unwrap_or(0);
    let next = at.checked_add_signed(by).map_or(panes.len() - 1, |next| next % panes.len());
    focus(state, panes[next]);
}

fn page(state: &MonitState) -> usize {
    state.layout().place(state.focus).map_or(1, |place| place.inner().height.saturating_sub(1).max(1))
}

/// Scrolls within a pane: to another row of the list, or to other lines of other panes.
fn scroll(state: &mut MonitState, pane: Pane, up: bool, by: usize) {
    if pane == Pane::List {
        let position = state.position().unwrap_or(0);
        state.select_at(if up { position.saturating_sub(by) } else { position.saturating_add(by) });
        return;
    }
    let Some(place) = state.layout().place(pane).map(|place| place.inner()) else { return };
    let most = match pane {
        Pane::Logs => state.logs.len().saturating_sub(1),
        pane => content::lines(state, pane, place.width).len().saturating_sub(place.height),
    };
    // Logs grow at the end, and users read them there, so scrolling goes the other way.
    let further = up == (pane == Pane::Logs);
    let offset = &mut state.scroll[pane.index()];
    *offset = if further { offset.saturating_add(by) } else { offset.saturating_sub(by) }.min(most);
}

fn on_click(state: &mut MonitState, x: usize, y: usize) {
    if state.dialog != Dialog::None {
        return;
    }
    let Some((pane, place)) = state.layout().at(x, y) else { return };
    focus(state, pane);
    // The first row is below the border and the heading.
    if pane == Pane::List && y >= place.y + 2 && y + 1 < place.y + place.height {
        let position = state.list_top() + y - place.y - 2;
        if position < state.shown.len() {
            state.select_at(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_lines::LogLine;
    use super::super::state::{DisplayOptions, MonitEvent};
    use super::*;
    use crate::render::View;
    use crate::tests::data;

    fn state() -> MonitState {
        let display = DisplayOptions { program: "ostler", is_pm2: false, is_ascii: false };
        let mut state = MonitState::new(display, View::played(data::NOW_MS, None), (80, 24), "id".into());
        let mut rows: Vec<_> = ["api", "api", "job"].into_iter().zip(0..).map(|(name, id)| data::row(id, name)).collect();
        rows[2].status = "stopped".into();
        state.apply(MonitEvent::Rows(rows));
        state
    }

    fn press(state: &mut MonitState, keys: &str) -> Option<Command> {
        keys.chars().map(|c| on_input(state, Input::Key(if c == '\n' { Key::Enter } else { Key::Char(c) }))).last().flatten()
    }

    fn action(action: AppAction) -> Option<Command> {
        Some(Command::Action(action))
    }

    #[test]
    fn disruptive_keys_ask_for_confirmation() {
        let scale = |to: &str| AppAction::Scale { app: "api".into(), to: to.into() };
        let chosen = |target: &str, words: &str| ActionTarget { target: target.into(), words: words.into() };
        let (one, all) = (|| chosen("0", "api (0)"), || chosen("/^api$/", "all 2 instances of api"));
        let cases = [
            ("s", "Stop api (0)?", AppAction::Stop(one())),
            ("S", "Stop all 2 instances of api?", AppAction::Stop(all())),
            ("r", "Restart api (0)?", AppAction::Restart(one())),
            ("R", "Restart all 2 instances of api?", AppAction::Restart(all())),
            ("-", "Scale api from 2 to 1?", scale("-1")),
            ("c14\n", "Scale api from 2 to 14?", scale("14")),
            ("jjs", "Stop job (2)?", AppAction::Stop(chosen("2", "job (2)"))),
        ];
        for (keys, question, expected) in cases {
            let mut state = state();
            assert_eq!(press(&mut state, keys), None, "{keys}");
            assert!(matches!(&state.dialog, Dialog::Confirm { question: pending, .. } if pending == question), "{:?}", state.dialog);
            // Only the letter `y` means yes.
            for other in [Key::Enter, Key::Char('n'), Key::Escape, Key::Char('Y')] {
                state.dialog = Dialog::Confirm { question: question.into(), action: expected.clone() };
                assert_eq!((on_input(&mut state, Input::Key(other)), &state.dialog), (None, &Dialog::None));
            }
            press(&mut state, "gg");
            press(&mut state, keys);
            on_input(&mut state, Input::Paste("y".into()));
            assert_eq!(press(&mut state, "y"), action(expected));
        }
    }

    #[test]
    fn harmless_keys_act_without_confirmation() {
        let chosen = |target: &str, words: &str| ActionTarget { target: target.into(), words: words.into() };
        for (keys, expected) in [
            ("l", AppAction::Reload(chosen("0", "api (0)"))),
            ("L", AppAction::Reload(chosen("/^api$/", "all 2 instances of api"))),
            ("+", AppAction::Scale { app: "api".into(), to: "+1".into() }),
            ("jjr", AppAction::Restart(chosen("2", "job (2)"))),
        ] {
            assert_eq!(press(&mut state(), keys), action(expected), "{keys}");
        }
        let mut empty = state();
        empty.apply(MonitEvent::Rows(Vec::new()));
        for keys in ["s", "R", "+", "c"] {
            assert_eq!((press(&mut empty, keys), &empty.dialog), (None, &Dialog::None), "{keys}");
        }
    }

    #[test]
    fn app_named_like_another_id_is_not_stopped() {
        let mut state = state();
        let mut rows = state.rows.clone();
        rows[2].name = "0".into();
        state.apply(MonitEvent::Rows(rows));
        assert_eq!((press(&mut state, "s"), &state.dialog), (None, &Dialog::None));
        assert!(state.message.as_ref().is_some_and(|(text, is_good)| text.contains("api (0)") && !is_good));
        press(&mut state, "S");
        assert!(matches!(&state.dialog, Dialog::Confirm { action: AppAction::Stop(chosen), .. } if chosen.target == "/^api$/"));
    }

    #[test]
    fn escape_closes_one_level_at_a_time() {
        let mut state = state();
        press(&mut state, "/jo\nz");
        state.apply(MonitEvent::Answer { text: "done".into(), is_good: true });
        assert_eq!((state.shown.len(), state.is_zoomed, state.message.is_some()), (1, true, true));
        let mut escape = || on_input(&mut state, Input::Key(Key::Escape));
        assert_eq!([escape(), escape(), escape(), escape()], [None, None, None, Some(Command::Quit)]);
        assert_eq!((state.filter.as_str(), state.shown.len(), state.is_zoomed), ("", 3, false));
    }

    #[test]
    fn filter_is_typed_and_escape_clears_it() {
        let mut state = state();
        press(&mut state, "/ap");
        on_input(&mut state, Input::Paste("i\u{1b}[2J".into()));
        assert_eq!((state.filter.as_str(), state.shown.len()), ("api[2J", 0));
        on_input(&mut state, Input::Key(Key::Escape));
        assert_eq!((state.filter.as_str(), state.shown.len()), ("", 3));
        press(&mut state, "/q\n");
        assert_eq!(state.filter, "q", "letters are letters while it is typed");
        on_input(&mut state, Input::Paste("x".repeat(9999)));
        assert_eq!(state.filter, "q", "and a paste is nothing afterwards");
    }

    #[test]
    fn focus_moves_through_panes_in_order() {
        let mut state = state();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(state.focus);
            on_input(&mut state, Input::Key(Key::Right));
        }
        assert_eq!(seen, [Pane::List, Pane::Logs, Pane::Metrics, Pane::Info, Pane::List]);
        press(&mut state, "e");
        assert_eq!(
            (state.focus, state.layout().place(Pane::Events).is_some(), state.layout().place(Pane::Info)),
            (Pane::Events, true, None)
        );
        on_input(&mut state, Input::Key(Key::Left));
        assert_eq!(state.focus, Pane::Metrics);
        state.size = (40, 12);
        for expected in [Pane::Info, Pane::Why, Pane::Events, Pane::List] {
            on_input(&mut state, Input::Key(Key::Tab));
            assert_eq!((state.focus, state.layout().panes.len()), (expected, 1));
        }
    }

    #[test]
    fn sort_key_cycles_through_fields() {
        let mut state = state();
        let mut seen = Vec::new();
        for _ in 0..7 {
            press(&mut state, "o");
            seen.push(state.sort.clone());
        }
        assert_eq!(seen, ["name", "status", "cpu:desc", "memory:desc", "uptime", "id", "name"]);
        press(&mut state, "O");
        assert_eq!(state.sort, "name:desc");
        press(&mut state, "O");
        assert_eq!(state.sort, "name");
    }

    #[test]
    fn mouse_selects_and_scrolls() {
        let mut state = state();
        on_input(&mut state, Input::Click(5, 5));
        assert_eq!(state.selected, Some(2), "the third row: header, border and heading are above");
        on_input(&mut state, Input::Click(5, 6));
        assert_eq!(state.selected, Some(2), "nothing is there");
        on_input(&mut state, Input::Wheel { x: 5, y: 5, up: true });
        assert_eq!(state.selected, Some(0));
        for n in 0..50 {
            state.apply(MonitEvent::Line(LogLine::new(n.to_string().as_bytes(), false)));
        }
        on_input(&mut state, Input::Wheel { x: 60, y: 5, up: true });
        assert_eq!((state.scroll[Pane::Logs.index()], state.focus), (3, Pane::List));
        on_input(&mut state, Input::Click(60, 5));
        assert_eq!(state.focus, Pane::Logs);
        press(&mut state, "G");
        assert_eq!(state.scroll[Pane::Logs.index()], 0);
        on_input(&mut state, Input::Click(999, 999));
    }

    #[test]
    fn no_key_panics_at_any_size() {
        let mut state = state();
        for width in [0, 1, 2, 5, 39, 40, 80, 200] {
            for height in [0, 1, 2, 3, 4, 5, 12, 24, 50] {
                state.apply(MonitEvent::Resized(width, height));
                for key in ' '..='~' {
                    on_input(&mut state, Input::Key(Key::Char(key)));
                }
                for key in [
                    Key::Up,
                    Key::Down,
                    Key::PageUp,
                    Key::PageDown,
                    Key::Home,
                    Key::End,
                    Key::Left,
                    Key::Right,
                    Key::Tab,
                    Key::Enter,
                    Key::Escape,
                    Key::Backspace,
                ] {
                    on_input(&mut state, Input::Key(key));
                }
                on_input(&mut state, Input::Click(width / 2, height / 2));
                on_input(&mut state, Input::Wheel { x: width / 2, y: height / 2, up: false });
            }
        }
    }
}
