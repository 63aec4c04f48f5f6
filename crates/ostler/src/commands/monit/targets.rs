//! Target that selects exactly these instances. A name alone may be ambiguous: it may be a number,
//! a word such as `all`, or a namespace.

use ostler_core::app::select::{Selectable, select};
use ostler_proto::control::TableRow;

/// Returns the word by which the daemon selects exactly these instances of one app, or none if no
/// word does.
pub(super) fn target_of(rows: &[TableRow], ids: &[u32]) -> Option<String> {
    let first = rows.iter().find(|row| ids.first() == Some(&row.id))?;
    // Scripts do not matter: the daemon compares neither a number nor an expression with them.
    let entries =
        rows.iter().map(|row| Selectable { id: row.id, name: &row.name, namespace: &row.namespace, script: "", is_module: row.module });
    let entries: Vec<Selectable<'_>> = entries.collect();
    let by_id = (ids.len() == 1).then(|| first.id.to_string());
    let by_name = format!("/^{}$/", regex_lite::escape(&first.name));
    let is_right = |target: &String| select(target, &entries, "/").is_ok_and(|found| found == ids);
    by_id.into_iter().chain([by_name]).find(is_right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::data;

    #[test]
    fn target_never_matches_another_app() {
        let names = ["api", "api", "1", "all", "a.*", "nsB", "/x/", "0", "a\n$b"];
        let mut rows: Vec<TableRow> = names.into_iter().zip(0..).map(|(name, id)| data::row(id, name)).collect();
        rows[5].namespace = "4".into();
        let target = |ids: &[u32]| target_of(&rows, ids);
        for (ids, expected) in [
            (&[0, 1][..], Some("/^api$/")),
            // The name of an app equals the id of this instance, and the app of this instance has a
            // namesake.
            (&[0], None),
            (&[1], None),
            (&[2], Some("2")),
            (&[3], Some("3")),
            // A namespace has this name.
            (&[4], Some(r"/^a\.\*$/")),
            (&[6], Some("6")),
            (&[8], Some("8")),
            (&[9], None),
            (&[], None),
        ] {
            assert_eq!(target(ids).as_deref(), expected, "{ids:?}");
        }
        for (id, name) in (0..).zip(names) {
            let ids: Vec<u32> = rows.iter().filter(|row| row.name == name).map(|row| row.id).collect();
            assert!(target(&ids).is_some(), "{id} {name}");
        }
    }
}
