use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use proptest::prelude::*;

use super::*;

fn ms(instant: &str) -> u64 {
    u64::try_from(instant.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
}

fn show(ms: u64) -> String {
    Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap().to_string()
}

/// Returns the next instants, without the century, and without the seconds if they are 0.
fn next(pattern: &str, after: &str, zone: &TimeZone, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let steps = std::iter::successors(Some(ms(after)), |at| schedule.next_after(*at, zone));
    steps.skip(1).take(count).map(show).collect()
}

/// Returns Central Europe's zone: an hour left out on 2026-03-29 at 02:00, twice on 2026-10-25 from
/// 02:00.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// Returns a zone with a jump at midnight: 2026-04-24 begins at 01:00; on 2026-10-29 the hour
/// before midnight occurs twice.
fn cairo() -> TimeZone {
    TimeZone::posix("EET-2EEST,M4.5.5/0,M10.5.4/24").unwrap()
}

/// Its offset changes by half an hour.
fn lord_howe() -> TimeZone {
    TimeZone::posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0").unwrap()
}

/// Answers of npm `croner` 4.1.97 (the version in PM2 7), after 2026-11-21T12:00:00Z in UTC.
#[test]
fn pm2_patterns_give_the_same_times() {
    for (pattern, expected) in [
        ("* * * * *", ["2026-11-21T12:01:00Z", "2026-11-21T12:02:00Z"]),
        ("2/3 * * * * *", ["2026-11-21T12:00:02Z", "2026-11-21T12:00:05Z"]),
        ("0 3 * * *", ["2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z"]),
        ("0 */6 * * *", ["2026-11-21T18:00:00Z", "2026-11-22T00:00:00Z"]),
        ("0 0 * * 0", ["2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"]),
        ("0 0 * * 7", ["2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"]),
        ("0 2,14 * * *", ["2026-11-21T14:00:00Z", "2026-11-22T02:00:00Z"]),
        ("0 0 L * *", ["2026-11-30T00:00:00Z", "2026-12-31T00:00:00Z"]),
        ("0 0 l 2 *", ["2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z"]),
        ("0 0 29 2 *", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        // Both day fields have to match.
        ("0 0 13 * 5", ["2027-08-13T00:00:00Z", "2028-10-13T00:00:00Z"]),
        ("0 0 1 JAN,jul MON-FRI", ["2027-01-01T00:00:00Z", "2027-07-01T00:00:00Z"]),
        ("0 0 * FEB-apr *", ["2027-02-01T00:00:00Z", "2027-02-02T00:00:00Z"]),
        ("0 0 * * 6-7", ["2026-11-22T00:00:00Z", "2026-11-28T00:00:00Z"]),
        ("0 0 * * 1/2", ["2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"]),
        ("0 0 * * */2", ["2026-11-22T00:00:00Z", "2026-11-24T00:00:00Z"]),
        ("0 0 * * 6/2", ["2026-11-28T00:00:00Z", "2026-12-05T00:00:00Z"]),
        ("0 0 */10 * *", ["2026-12-01T00:00:00Z", "2026-12-11T00:00:00Z"]),
        ("0 0 1 */5 *", ["2027-01-01T00:00:00Z", "2027-06-01T00:00:00Z"]),
        ("1-5/2 * * * *", ["2026-11-21T12:01:00Z", "2026-11-21T12:03:00Z"]),
        ("*/59 * * * *", ["2026-11-21T12:59:00Z", "2026-11-21T13:00:00Z"]),
        ("*/60 * * * *", ["2026-11-21T13:00:00Z", "2026-11-21T14:00:00Z"]),
        ("*,5 * * * *", ["2026-11-21T12:01:00Z", "2026-11-21T12:02:00Z"]),
        ("1,2,,3, * * * *", ["2026-11-21T12:01:00Z", "2026-11-21T12:02:00Z"]),
        ("  05 \t 4 * * *  ", ["2026-11-22T04:05:00Z", "2026-11-23T04:05:00Z"]),
        ("1 2 3 4 5 6", ["2030-05-04T03:02:01Z", "2041-05-04T03:02:01Z"]),
    ] {
        assert_eq!(next(pattern, "2026-11-21T12:00:00Z", &TimeZone::UTC, 2), expected, "{pattern}");
    }
}

#[test]
fn pattern_extensions_give_the_expected_times() {
    for (pattern, expected) in [
        ("@hourly", ["2026-11-21T13:00:00Z", "2026-11-21T14:00:00Z"]),
        ("@Daily", ["2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"]),
        ("@weekly", ["2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"]),
        ("@monthly", ["2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"]),
        ("@yearly", ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
        ("0 0 ? * 1", ["2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"]),
        ("0 0 15W * ?", ["2026-12-15T00:00:00Z", "2027-01-15T00:00:00Z"]),
        // A Sunday at the end of the month, a Saturday at its beginning.
        ("0 0 31w 1 *", ["2027-01-29T00:00:00Z", "2028-01-31T00:00:00Z"]),
        ("0 0 1W 5 *", ["2027-05-03T00:00:00Z", "2028-05-01T00:00:00Z"]),
        ("0 0 LW 1 *", ["2027-01-29T00:00:00Z", "2028-01-31T00:00:00Z"]),
        ("0 0 1,L * *", ["2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"]),
        ("0 0 * * 5L", ["2026-11-27T00:00:00Z", "2026-12-25T00:00:00Z"]),
        ("0 0 * * fri#L", ["2026-11-27T00:00:00Z", "2026-12-25T00:00:00Z"]),
        ("0 0 * * 5#2", ["2026-12-11T00:00:00Z", "2027-01-08T00:00:00Z"]),
        ("0 0 * * MON#1,7#5", ["2026-11-29T00:00:00Z", "2026-12-07T00:00:00Z"]),
        // PM2 starts one day (or month) late here.
        ("0 0 5/10 * *", ["2026-11-25T00:00:00Z", "2026-12-05T00:00:00Z"]),
        ("0 0 1 5/3 *", ["2027-05-01T00:00:00Z", "2027-08-01T00:00:00Z"]),
        ("0-30/15,45 * * * *", ["2026-11-21T12:15:00Z", "2026-11-21T12:30:00Z"]),
    ] {
        assert_eq!(next(pattern, "2026-11-21T12:00:00Z", &TimeZone::UTC, 2), expected, "{pattern}");
    }
}

#[test]
fn invalid_pattern_is_an_error() {
    for (pattern, message) in [
        ("", "expected 5 fields (minute hour day month weekday) or 6 (second first), found 0"),
        ("* * * *", "expected 5 fields (minute hour day month weekday) or 6 (second first), found 4"),
        ("* * * * * * *", "expected 5 fields (minute hour day month weekday) or 6 (second first), found 7"),
        ("60 * * * *", "minute \"60\": expected 0 to 59"),
        ("60 * * * * *", "second \"60\": expected 0 to 59"),
        ("0 24 * * *", "hour \"24\": expected 0 to 23"),
        ("0 0 0 * *", "day of month \"0\": expected 1 to 31"),
        ("0 0 1 13 *", "month \"13\": expected 1 to 12 or JAN to DEC"),
        ("0 0 1 JANUARY *", "month \"JANUARY\": expected 1 to 12 or JAN to DEC, did you mean \"JAN\"?"),
        ("0 0 * * 8", "weekday \"8\": expected 0 to 7 or SUN to SAT"),
        ("JAN * * * *", "minute \"JAN\": expected 0 to 59"),
        ("-1 * * * *", "minute \"-1\": expected 0 to 59"),
        ("+1 * * * *", "minute \"+1\": expected 0 to 59"),
        ("1-2-3 * * * *", "minute \"1-2-3\": expected 0 to 59"),
        ("99999999999999999999 * * * *", "minute \"99999999999999999999\": expected 0 to 59"),
        ("１ * * * *", "minute \"１\": expected 0 to 59"),
        ("1,70 * * * *", "minute \"70\": expected 0 to 59"),
        (", * * * *", "minute \",\": expected a value"),
        ("? * * * *", "minute \"?\": expected 0 to 59"),
        ("** * * * *", "minute \"**\": expected 0 to 59"),
        ("*-5 * * * *", "minute \"*-5\": expected 0 to 59"),
        ("*/0 * * * *", "minute \"*/0\": expected a step from 1 to 60 after the /"),
        ("*/61 * * * *", "minute \"*/61\": expected a step from 1 to 60 after the /"),
        ("*/1.5 * * * *", "minute \"*/1.5\": expected a step from 1 to 60 after the /"),
        ("5/ * * * *", "minute \"5/\": expected a step from 1 to 60 after the /"),
        ("/5 * * * *", "minute \"/5\": expected something before the /, as in */5"),
        ("0 22-2 * * *", "hour \"22-2\": the range ends before it starts; write 22-23,0-2"),
        ("0 0 30-L * *", "day of month \"30-L\": expected 1 to 31"),
        ("0 0 32W * *", "day of month \"32W\": expected 1 to 31 before the W"),
        ("0 0 * * L", "weekday \"L\": expected 0 to 7 or SUN to SAT in front"),
        ("0 0 * * 5#6", "weekday \"5#6\": expected 1 to 5 or L after the #"),
        ("@reboot", "@reboot is not supported: saved apps start at boot without it"),
        ("0 0 * * MNO", "weekday \"MNO\": expected 0 to 7 or SUN to SAT, did you mean \"MON\"?"),
        ("0 0 * * 1-Fryday", "weekday \"1-Fryday\": expected 0 to 7 or SUN to SAT, did you mean \"FRI\"?"),
        ("0 0 1 Sept *", "month \"Sept\": expected 1 to 12 or JAN to DEC, did you mean \"SEP\"?"),
        (
            "@dialy",
            "unknown word \"@dialy\"; known are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually, did you mean \"@daily\"?",
        ),
        ("@noon", "unknown word \"@noon\"; known are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually"),
        ("0 0 31 2 *", "no such date exists, it would never run"),
        ("0 0 31 4,6,9,11 *", "no such date exists, it would never run"),
        ("0 0 30W 2 *", "no such date exists, it would never run"),
        ("0 0 1 * 1#2", "no such date exists, it would never run"),
    ] {
        assert_eq!(Schedule::parse(pattern).unwrap_err().to_string(), message, "{pattern}");
    }
}

#[test]
fn pattern_with_both_day_fields_is_detected() {
    for (pattern, both) in [("0 0 13 * 5", true), ("0 0 L * 5L", true), ("0 0 1-31 * 5", false), ("0 0 1 * ?", false), ("@daily", false)] {
        let schedule = Schedule::parse(pattern);
        assert_eq!(schedule.is_ok_and(|schedule| schedule.restricts_both_days()), both, "{pattern}");
    }
}

/// A time of day that is left out runs at the jump; a time that occurs twice runs the first time.
#[test]
fn daylight_saving_changes_skip_and_repeat_no_run() {
    for (zone, pattern, after, expected) in [
        // Left out: 02:00 to 03:00.
        (berlin(), "30 2 * * *", "2026-03-28T12:00:00Z", vec!["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        (berlin(), "0 2,14 * * *", "2026-03-28T22:00:00Z", vec!["2026-03-29T01:00:00Z", "2026-03-29T12:00:00Z"]),
        // One run for all times that the jump skips, and for the instant itself.
        (berlin(), "*/20 1-3 * * *", "2026-03-29T00:40:00Z", vec!["2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z"]),
        (berlin(), "30 * * * *", "2026-03-29T00:00:00Z", vec!["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]),
        (cairo(), "@daily", "2026-04-23T12:00:00Z", vec!["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]),
        // Twice: 02:00 to 03:00.
        (berlin(), "30 2 * * *", "2026-10-24T12:00:00Z", vec!["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        (berlin(), "*/30 1-3 * * *", "2026-10-25T00:00:00Z", vec!["2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"]),
        (berlin(), "30 2 * * *", "2026-10-25T01:10:00Z", vec!["2026-10-26T01:30:00Z"]),
        (
            berlin(),
            "*/30 * * * *",
            "2026-10-25T00:00:00Z",
            vec!["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"],
        ),
        (lord_howe(), "45 1 * * *", "2026-04-04T12:00:00Z", vec!["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]),
        (lord_howe(), "15 2 * * *", "2026-10-03T12:00:00Z", vec!["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]),
    ] {
        assert_eq!(next(pattern, after, &zone, expected.len()), expected, "{pattern} after {after}");
    }
}

#[test]
fn fractions_of_a_second_do_not_repeat_a_tick() {
    let schedule = Schedule::parse("* * * * * *").unwrap();
    for after in [1_000, 1_001, 1_999] {
        assert_eq!(schedule.next_after(after, &TimeZone::UTC), Some(2_000));
    }
    assert_eq!(schedule.next_after(u64::MAX, &TimeZone::UTC), None);
    assert_eq!(Schedule::parse("@yearly").unwrap().next_after(ms("9999-06-01T00:00:00Z"), &TimeZone::UTC), None);
}

/// Returns a field as a list of numbers, and the numbers.
fn numbers(from: u32, to: u32) -> impl Strategy<Value = (String, BTreeSet<i8>)> {
    let some = proptest::collection::btree_set(from..=to, 1..5);
    let all = Just((from..=to).collect::<BTreeSet<u32>>());
    prop_oneof![some, all].prop_map(|set| {
        let text = set.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        (text, set.iter().map(|value| i8::try_from(*value).unwrap()).collect())
    })
}

/// Possible offsets by which the wall clock of the test zones is set back.
const BACK_S: [i64; 2] = [1800, 3600];

/// Returns true if the pattern runs at this instant, checked second by second, independently of the
/// algorithm under test.
fn runs_at(at: i64, zone: &TimeZone, every_hour: bool, named: &dyn Fn(jiff::civil::DateTime) -> bool) -> bool {
    let wall = |at: i64| zone.to_datetime(Timestamp::from_second(at).unwrap());
    let now = wall(at);
    if every_hour {
        return named(now);
    }
    let second_time = BACK_S.iter().any(|back| wall(at - back) == now);
    let before = wall(at - 1) + Span::new().seconds(1);
    let mut skipped = std::iter::successors(Some(before), |wall| Some(*wall + Span::new().seconds(1))).take_while(|wall| *wall < now);
    (named(now) && !second_time) || skipped.any(named)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn next_time_matches_counting_seconds(
        (second, seconds) in numbers(0, 59),
        (minute, minutes) in numbers(0, 59),
        (hour, hours) in numbers(0, 23),
        place in 0..6_usize,
        start in 0..9_000_i64,
    ) {
        let (zone, around) = [
            (berlin(), "2026-03-28T23:00:00Z"), (berlin(), "2026-10-24T23:00:00Z"),
            (cairo(), "2026-04-23T20:00:00Z"), (cairo(), "2026-10-29T18:00:00Z"),
            (lord_howe(), "2026-04-04T13:00:00Z"), (lord_howe(), "2026-10-03T14:00:00Z"),
        ][place].clone();
        let after = around.parse::<Timestamp>().unwrap().as_second() + start;
        let schedule = Schedule::parse(&format!("{second} {minute} {hour} * * *")).unwrap();
        let named = |wall: jiff::civil::DateTime| {
            hours.contains(&wall.hour()) && minutes.contains(&wall.minute()) && seconds.contains(&wall.second())
        };
        let until = after + 4 * 3600;
        let expected = (after + 1..=until).find(|at| runs_at(*at, &zone, hours.len() == 24, &named));
        let found = schedule.next_after(u64::try_from(after * 1000).unwrap(), &zone).map(|ms| i64::try_from(ms / 1000).unwrap());
        match expected {
            Some(expected) => prop_assert_eq!(found, Some(expected)),
            None => prop_assert!(found.is_some_and(|found| found > until)),
        }
    }

    #[test]
    fn next_day_matches_counting_days(
        (day, days) in numbers(1, 31),
        (month, months) in numbers(1, 12),
        (weekday, weekdays) in numbers(0, 6),
        special in 0..7_usize,
        nth in 1..=5_i8,
        start in 0..20_000_i64,
    ) {
        let one = *weekdays.first().unwrap();
        let near = *days.first().unwrap();
        let (day, weekday) = match special {
            0 => ("L".into(), "*".into()),
            1 => ("LW".into(), "*".into()),
            2 => (format!("{near}W"), "*".into()),
            3 => ("*".into(), format!("{one}#{nth}")),
            4 => ("*".into(), format!("{one}L")),
            5 => (day, "?".into()),
            _ => (day, weekday),
        };
        let first = Date::constant(2000, 1, 1) + Span::new().days(start);
        let named = |date: Date| {
            let last = date.days_in_month();
            let (at, weekday) = (date.day(), date.weekday().to_sunday_zero_offset());
            let of = |day: i8| date.with().day(day).build().unwrap();
            let works = |day: i8| !matches!(of(day).weekday().to_sunday_zero_offset(), 0 | 6);
            months.contains(&date.month()) && match special {
                0 => at == last,
                1 => works(at) && (at + 1..=last).all(|day| !works(day)),
                2 => near <= last && (1..=last).filter(|day| works(*day)).min_by_key(|day| (*day - near).abs()) == Some(at),
                3 => weekday == one && (1..=at).filter(|day| of(*day).weekday() == date.weekday()).count() == usize::try_from(nth).unwrap(),
                4 => weekday == one && (at + 1..=last).all(|day| of(day).weekday() != date.weekday()),
                5 => days.contains(&at),
                _ => days.contains(&at) && weekdays.contains(&weekday),
            }
        };
        let expected = std::iter::successors(Some(first), |date| date.tomorrow().ok()).take(366 * 42).find(|date| named(*date));
        let pattern = format!("0 0 {day} {month} {weekday}");
        let after = first.to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond() - 1;
        match (Schedule::parse(&pattern), expected) {
            (Ok(schedule), Some(date)) => {
                let found = schedule.next_after(u64::try_from(after).unwrap(), &TimeZone::UTC).map(show);
                prop_assert_eq!(found, Some(format!("{date}T00:00:00Z")), "{}", pattern);
            }
            (Err(CronError::Never), None) => {}
            (parsed, expected) => prop_assert!(false, "{}: {:?}, expected {:?}", pattern, parsed, expected),
        }
    }
}

proptest! {
    #[test]
    fn parsing_any_text_never_panics(text in "[-0-9*/,?LW#@ A-Z]{0,30}|.{0,30}", at in any::<u64>()) {
        if let Ok(schedule) = Schedule::parse(&text) && let Some(next) = schedule.next_after(at, &berlin()) {
            prop_assert!(next > at || next / 1000 == at / 1000 + 1);
        }
    }
}
