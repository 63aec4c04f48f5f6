use ostler_proto::control::ScaleTo;

use super::*;

/// Id, name, pid, places where it listens, and the pending event.
type Known<'a> = (u32, &'a str, i32, &'a [&'a str], Option<&'a str>);

fn facts(of: &[Known<'_>]) -> BTreeMap<u32, InstanceFacts> {
    let fact = |(id, name, pid, listens, waits): &Known<'_>| {
        let listens = listens.iter().map(|place| (*place).to_owned()).collect();
        let waits = waits.map(str::to_owned);
        (*id, InstanceFacts { name: (*name).into(), pid: Some(*pid), listens, health: None, waits, ended: None })
    };
    of.iter().map(fact).collect()
}

fn done(id: u32, name: &str) -> Progress {
    Progress::InstanceDone { id, name: name.into(), late: None }
}

fn launched(name: &str, ids: &[u32]) -> Progress {
    Progress::Launched { name: name.into(), ids: ids.into() }
}

fn failed(id: u32, name: &str, reason: &str) -> Progress {
    Progress::InstanceFailed { id, name: name.into(), reason: reason.into() }
}

fn texts(lines: Vec<BoardLine>) -> Vec<String> {
    lines.into_iter().map(|line| line.text).collect()
}

fn view(width: Option<usize>) -> View {
    View::played(0, width)
}

#[test]
fn start_of_a_file_has_one_line_per_app() {
    let mut board = Board::new(Change::Start, "ostler", true);
    for (progress, at_ms) in [
        (launched("shop", &[0]), 1),
        (launched("api", &[1, 2]), 1),
        (launched("mailer", &[3]), 2),
        (launched("slow", &[4]), 2),
        (done(0, "shop"), 420),
        (done(1, "api"), 500),
        (done(2, "api"), 560),
        (
            failed(
                3,
                "mailer",
                "exited with code 1 within 0.3 s of its start; ostler restarts it\n    │ TypeError: x\n    │   at a.js:1:2",
            ),
            700,
        ),
        (Progress::InstanceDone { id: 4, name: "slow".into(), late: Some("is still starting after 3 s".into()) }, 3_000),
    ] {
        board.apply(progress, at_ms);
    }
    let facts = facts(&[(0, "shop", 8904, &[":3941"], None), (1, "api", 7, &[":3942"], None), (2, "api", 8, &[":3942"], None)]);
    let text = texts(board.finished(&facts, true, &view(Some(80)))).join("\n");
    let expected = "\
✓ shop    pid 8904, listening on :3941                                     0.4 s
✓ api ×2  listening on :3942                                               0.5 s
✗ mailer  exited with code 1 within 0.3 s of its start; ostler restarts it
    TypeError: x
      at a.js:1:2
    hint: ostler why mailer
◐ slow    still starting after 3 s; continues in the background            3.0 s";
    assert_eq!(text, expected);
    assert!(board.finished(&facts, true, &view(None)).is_empty(), "each line once");
}

#[test]
fn app_is_finished_when_all_its_instances_are() {
    let mut board = Board::new(Change::Restart, "ostler", true);
    board.apply(Progress::Selected { action: "restartProcessId".into(), target: "all".into(), ids: vec![1, 2] }, 0);
    board.apply(done(1, "api"), 100);
    let none = BTreeMap::new();
    assert!(board.finished(&none, false, &view(None)).is_empty(), "instance 2 may belong to the app");
    let facts = facts(&[(2, "api", 9, &[], Some("checking that it stays up"))]);
    assert_eq!(board.unknown(false), [1, 2].into());
    board.name(&facts);
    assert_eq!(board.live(400, &facts, 20, &view(Some(60))), ["◐ api ×2  1/2 checking that it stays up                0.4 s"]);
    assert!(board.finished(&facts, false, &view(None)).is_empty());
    board.apply(done(2, "api"), 900);
    assert_eq!(board.finished(&facts, false, &view(Some(60))).len(), 1);
    assert!(board.live(1000, &facts, 20, &view(None)).is_empty());
}

#[test]
fn steps_are_lines_without_a_terminal_and_notable_ones_stay() {
    let step = |step: &str, is_notable| Progress::Rollout { id: 3, name: "api".into(), step: step.into(), is_notable };
    for is_live in [true, false] {
        let mut board = Board::new(Change::Reload, "ostler", is_live);
        [step("starts", false), step("has a gap", true), done(3, "api")].into_iter().for_each(|progress| board.apply(progress, 0));
        let lines = texts(board.finished(&BTreeMap::new(), true, &view(None)));
        let expected: &[&str] = if is_live { &[] } else { &["  api (3) starts", "  api (3) has a gap"] };
        let (steps, result) = lines.split_at(lines.len() - 2);
        assert_eq!(steps, expected);
        assert!(result[0].starts_with("✓ api  reloaded") && result[1] == "    has a gap", "{result:?}");
    }
}

#[test]
fn each_change_names_its_result() {
    for (change, steps, words) in [
        (Change::Stop, vec![done(0, "a")], "✓ a  stopped"),
        (Change::Delete, vec![done(0, "a"), done(1, "a")], "✓ a ×2  deleted"),
        (Change::Reset, vec![done(0, "a")], "✓ a  counters reset"),
        (Change::Scale, vec![done(0, "a")], "✓ a  1 instance removed"),
        (Change::Scale, vec![launched("a", &[1, 2]), done(1, "a"), done(2, "a")], "✓ a ×2  2 instances added"),
        (Change::Start, vec![done(0, "a")], "✓ a  started"),
        (Change::RollBack, vec![done(0, "a")], "✓ a  rolled back"),
    ] {
        let mut board = Board::new(change, "ostler", true);
        steps.into_iter().for_each(|step| board.apply(step, 0));
        let lines = texts(board.finished(&BTreeMap::new(), true, &view(None)));
        assert!(lines.len() == 1 && lines[0].starts_with(words), "{lines:?}");
    }
}

#[test]
fn apps_of_a_project_have_their_own_names_and_results() {
    let results = [("shop-api", "created"), ("shop-db", "changed")].map(|(name, result)| (name.to_owned(), result)).into();
    let look = ProjectLook { project: "shop".into(), results, names: 8 };
    let mut board = Board::new(Change::Start, "ostler", true).of_project(look);
    for progress in [
        launched("shop-api", &[0]),
        launched("shop-db", &[1]),
        done(0, "shop-api"),
        failed(1, "shop-db", "exited with code 4\n    │ no disk"),
    ] {
        board.apply(progress, 400);
    }
    let facts = facts(&[(0, "shop-api", 7, &[":80"], None)]);
    let live = board.live(400, &facts, 9, &view(Some(40)));
    assert_eq!(live, ["◐ api       starting               0.4 s", "◐ db        starting               0.4 s"]);
    let text = texts(board.finished(&facts, true, &view(None))).join("\n");
    let expected = "\
✓ api       created, pid 7, listening on :80                               0.4 s
✗ db        exited with code 4
    no disk
    hint: ostler why shop-db";
    assert_eq!(text, expected);
}

#[test]
fn app_of_a_project_that_has_exited_says_so() {
    let ended = |text: &str, has_failed| EndedFacts { text: text.into(), has_failed, last_lines: vec!["no disk".into()] };
    let results = BTreeMap::from([("shop-a".to_owned(), "created")]);
    for (of_project, ended, expected) in [
        (true, ended("exited with code 0", false), "○ a  exited with code 0"),
        (true, ended("exited with code 4", true), "✗ a  exited with code 4\n    no disk\n    hint: ostler why shop-a"),
        (false, ended("exited with code 4", true), "✓ shop-a  started"),
    ] {
        let look = ProjectLook { project: "shop".into(), results: results.clone(), names: 0 };
        let mut board = Board::new(Change::Start, "ostler", true).of_project(if of_project { look } else { ProjectLook::default() });
        [launched("shop-a", &[0]), done(0, "shop-a")].into_iter().for_each(|progress| board.apply(progress, 0));
        let facts = BTreeMap::from([(0, InstanceFacts { name: "shop-a".into(), ended: Some(ended.clone()), ..InstanceFacts::default() })]);
        let text = texts(board.finished(&facts, true, &view(None))).join("\n");
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(board.failed().len(), usize::from(of_project && ended.has_failed));
    }
}

#[test]
fn live_lines_leave_room_on_a_small_terminal() {
    let mut board = Board::new(Change::Start, "ostler", true);
    (0..1000).for_each(|id| board.apply(launched(&format!("app-{id}"), &[id]), 0));
    for (rows, lines, last) in [(50, 13, "  and 988 more"), (5, 5, "  and 996 more"), (1, 1, "  and 1000 more"), (0, 0, "")] {
        let live = board.live(400, &BTreeMap::new(), rows, &view(Some(60)));
        assert_eq!((live.len(), live.last().map_or("", String::as_str)), (lines, last));
    }
}

/// Names, reasons and lines that users and apps choose.
fn any_text() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let hostile = [
        "日本語のとても長い名前".repeat(8),
        "🚀👩‍👩‍👧".into(),
        "שלום \u{202e}x".into(),
        "\u{1b}[31mred\u{1b}]0;x\u{7}".into(),
        "x".repeat(200),
        "waits for something that takes a long time to name".into(),
    ];
    prop_oneof![proptest::sample::select(hostile.to_vec()), "[a-c]{1,3}", "\\PC{1,60}"]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 100, ..Default::default() })]

    #[test]
    fn no_line_is_wider_than_the_terminal(
        names in proptest::collection::vec(any_text(), 1..5),
        words in any_text(),
        width in 20usize..=200,
        at_ms in proptest::prelude::any::<u64>(),
        is_project in proptest::prelude::any::<bool>(),
    ) {
        let results = names.iter().map(|name| (name.clone(), "changed")).collect();
        let look = if is_project { ProjectLook { project: "a".into(), results, names: 30 } } else { ProjectLook::default() };
        let mut board = Board::new(Change::Start, "ostler", true).of_project(look);
        let ids = 0u32..;
        let mut known = BTreeMap::new();
        for (name, id) in names.iter().zip(ids.clone()) {
            board.apply(launched(name, &[2 * id, 2 * id + 1]), 0);
            let facts = InstanceFacts { name: name.clone(), pid: Some(i32::MAX), listens: vec![":1".into(), shown(&words)], health: None, waits: Some(shown(&words)), ended: None };
            known.insert(2 * id, facts);
        }
        let mut lines = board.live(at_ms, &known, 20, &view(Some(width)));
        board.apply(Progress::Warning(words.clone()), at_ms);
        for (name, id) in names.iter().zip(ids) {
            match id % 3 {
                0 => board.apply(done(2 * id, name), at_ms),
                1 => board.apply(failed(2 * id, name, &format!("{words}\n    │ {words}\n    │   {words}")), at_ms),
                _ => board.apply(Progress::InstanceDone { id: 2 * id, name: name.clone(), late: Some(words.clone()) }, at_ms),
            }
        }
        lines.extend(texts(board.finished(&known, true, &view(Some(width)))));
        for line in lines.iter().flat_map(|line| line.lines()).filter(|line| width >= 40 || !line.starts_with("    hint: ")) {
            proptest::prop_assert!(line.width() <= width, "{}: {}", width, line);
            proptest::prop_assert!(!line.contains(char::is_control), "{:?}", line);
        }
    }
}

#[test]
fn result_is_shown_beside_a_very_long_name() {
    let mut board = Board::new(Change::Stop, "ostler", true);
    board.apply(done(0, &"n".repeat(200)), 0);
    let lines = texts(board.finished(&BTreeMap::new(), true, &view(Some(40))));
    assert_eq!(lines, [format!("✓ {}…  stopped", "n".repeat(19))]);
}

#[test]
fn app_that_is_only_added_is_named() {
    for (is_confirmed, lines) in [(true, 1), (false, 0)] {
        let mut board = Board::new(Change::Start, "ostler", false);
        board.apply(launched("nightly", &[0]), 0);
        if is_confirmed {
            board.confirm();
        }
        let text = texts(board.finished(&BTreeMap::new(), true, &view(None)));
        assert!(text.len() == lines && text.iter().all(|line| line.starts_with("○ nightly  added, not started")), "{text:?}");
    }
}

#[test]
fn hint_quotes_names_for_the_shell() {
    assert_eq!(["api", "a b", "it's", "日本"].map(shell_word), ["api", "'a b'", "'it'\\''s'", "日本"]);
}

fn before(rows: &[(u32, &str, &str, bool)]) -> Option<InstancesBefore> {
    let apps = rows.iter().map(|(id, namespace, name, _)| (*id, ((*namespace).to_owned(), (*name).to_owned()))).collect();
    Some(InstancesBefore { running: rows.iter().filter(|(.., runs)| *runs).map(|(id, ..)| *id).collect(), apps })
}

#[test]
fn start_and_restart_are_named_by_what_ran_before() {
    let (up, down) = (before(&[(0, "default", "a", true)]), before(&[(0, "default", "a", false)]));
    for (change, before, words) in [
        (Change::Start, &up, "✓ a  restarted"),
        (Change::Start, &down, "✓ a  started"),
        (Change::Start, &None, "✓ a  started"),
        (Change::Restart, &up, "✓ a  restarted"),
        (Change::Restart, &down, "✓ a  started"),
        (Change::Reload, &up, "✓ a  reloaded"),
        (Change::Reload, &down, "✓ a  started"),
        (Change::Reload, &None, "✓ a  reloaded"),
    ] {
        let mut board = Board::new(change, "ostler", true).with_before(before.clone());
        board.apply(done(0, "a"), 0);
        let lines = texts(board.finished(&BTreeMap::new(), true, &view(None)));
        assert!(lines.len() == 1 && lines[0].starts_with(words), "{lines:?}");
    }
}

#[test]
fn scale_names_the_number_before_and_after() {
    let one = before(&[(0, "default", "a", true), (1, "default", "a", true), (2, "default", "b", true)]);
    let two = before(&[(0, "default", "a", true), (1, "staging", "a", true)]);
    for (before, steps, words) in [
        (&one, vec![launched("a", &[3, 4]), done(3, "a"), done(4, "a")], "✓ a  2 → 4 instances"),
        (&one, vec![done(1, "a")], "✓ a  2 → 1 instance"),
        (&one, vec![done(0, "a"), done(1, "a")], "✓ a  2 → 0 instances, removed from the list"),
        (&two, vec![done(1, "a")], "✓ a  1 instance removed"),
    ] {
        let mut board = Board::new(Change::Scale, "ostler", true).with_before(before.clone());
        steps.into_iter().for_each(|step| board.apply(step, 0));
        let lines = texts(board.finished(&BTreeMap::new(), true, &view(None)));
        assert!(lines.len() == 1 && lines[0].starts_with(words), "{lines:?}");
    }
}

#[test]
fn saved_apps_are_named_even_if_they_stay_stopped() {
    let mut board = Board::new(Change::Restore, "ostler", false);
    [launched("/srv/api.js", &[0]), launched("/srv/api.js", &[1]), launched("/srv/job.js", &[2]), done(0, "api"), done(1, "api")]
        .into_iter()
        .for_each(|step| board.apply(step, 0));
    board.confirm();
    let facts = facts(&[(0, "api", 7, &[], None), (1, "api", 8, &[], None)]);
    let job = InstanceFacts { name: "job".into(), ..InstanceFacts::default() };
    let facts = facts.into_iter().chain([(2, job)]).collect();
    board.name(&facts);
    let lines = texts(board.finished(&facts, true, &view(None)));
    assert!(
        lines.len() == 2 && lines[0].starts_with("✓ api ×2  started") && lines[1].starts_with("○ job     added, not started"),
        "{lines:?}"
    );
    let mut board = Board::new(Change::Restore, "ostler", false);
    board.apply(launched("/srv/job.js", &[0]), 0);
    board.confirm();
    assert_eq!(texts(board.finished(&BTreeMap::new(), true, &view(None))), ["○ 1 instance added, not started"]);
}

#[test]
fn start_that_is_not_awaited_is_no_result() {
    let detached = Some(Confirm { within_ms: 0, early_exit_fails: false, watches: false, detached: true });
    let request = Request::Scale { name: "a".into(), cwd: "/".into(), to: ScaleTo::By(1), oldest_first: false, confirm: detached };
    let waiting = "◐ a  starting; continues in the background";
    for (step, before, facts, line) in [
        (launched("a", &[0]), None, facts(&[(0, "a", 7, &[], None)]), waiting),
        (launched("a", &[0]), None, BTreeMap::new(), waiting),
        (
            launched("a", &[0]),
            None,
            BTreeMap::from([(0, InstanceFacts { name: "a".into(), ..InstanceFacts::default() })]),
            "○ a  added, not started",
        ),
        (
            Progress::Selected { action: "restartProcessId".into(), target: "a".into(), ids: vec![0] },
            before(&[(0, "default", "a", true)]),
            BTreeMap::new(),
            waiting,
        ),
    ] {
        let mut board = Board::new(Change::Start, "ostler", false).with_before(before).with_detached(&request);
        board.apply(step, 0);
        board.confirm();
        let lines = texts(board.finished(&facts, true, &view(None)));
        assert!(lines.len() == 1 && lines[0].starts_with(line), "{lines:?}");
    }
}
