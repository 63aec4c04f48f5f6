//! Line about apps that already run as their file describes them. Pure.

use ostler_core::message;
use unicode_width::UnicodeWidthStr as _;

use crate::render::View;
use crate::render::face::Mark;
use crate::text::fit;

/// Returns the line; none if every app has changed. `has_changed`: another app has changed.
pub(super) fn line(project: &str, names: &[String], has_changed: bool, view: &View) -> Option<String> {
    let mark = view.paint.with(Mark::Online.style(), Mark::Online.glyph());
    let room = view.width.unwrap_or(usize::MAX).saturating_sub(2);
    let text = match (names.len(), has_changed) {
        (0, _) => return None,
        (1, false) => message!("{project} is up to date: 1 app, nothing to change", project),
        (count, false) => message!("{project} is up to date: {count} apps, nothing to change", project, count),
        (_, true) => {
            let label = message!("unchanged: {names}", names = "").width();
            message!("unchanged: {names}", names = listed(names, room.saturating_sub(label)))
        }
    };
    Some(format!("{mark} {}", if text.width() > room { fit(&text, room).trim_end().to_owned() } else { text }))
}

/// Lists as many names as fit, and the number of the others.
fn listed(names: &[String], room: usize) -> String {
    let mut list = String::new();
    for (place, name) in names.iter().enumerate() {
        let rest = names.len() - place - 1;
        let more = if rest > 0 { and_more("", rest).width() } else { 0 };
        let separator = if place > 0 { ", " } else { "" };
        if place > 0 && list.width() + separator.len() + name.width() + more > room {
            return and_more(&list, rest + 1);
        }
        list += separator;
        list += name;
    }
    list
}

fn and_more(names: &str, count: usize) -> String {
    message!("{names} and {count} more", names, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(names: &[&str], has_changed: bool, width: Option<usize>) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        line("shop", &names, has_changed, &View::played(0, width)).unwrap_or_default()
    }

    #[test]
    fn unchanged_apps_share_one_line() {
        assert_eq!(at(&["api", "web"], false, None), "● shop is up to date: 2 apps, nothing to change");
        assert_eq!(at(&["api"], false, Some(20)), "● shop is up to dat…");
        assert_eq!(at(&["api", "web"], true, None), "● unchanged: api, web");
        assert_eq!(at(&["api", "web", "cache", "db"], true, Some(32)), "● unchanged: api, web and 2 more");
        assert_eq!(at(&[], true, None), "");
        let many: Vec<String> = (0..1000).map(|number| format!("app-{number}")).collect();
        assert_eq!(line("shop", &many, true, &View::played(0, Some(40))).unwrap_or_default(), "● unchanged: app-0, app-1 and 998 more");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

        #[test]
        fn line_fits_any_terminal(names in proptest::collection::vec("[a-c日]{1,40}", 0..30), has_changed in proptest::prelude::any::<bool>(), width in 20usize..=200) {
            let line = line("shop", &names, has_changed, &View::played(0, Some(width))).unwrap_or_default();
            proptest::prop_assert!(line.width() <= width && line.lines().count() <= 1, "{}", line);
        }
    }
}
