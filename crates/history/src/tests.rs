//! Tests of the whole store with a simulated disk.

use crate::fake_disk::FakeDisk;
use crate::{FLUSH, Figure, History, LONGEST_KEY, MOST_SERIES, Notice, Options, SampleInterval, Scale};

const PERCENT: Scale = Scale::new(0.1, 5);
const BYTES: Scale = Scale::new(4096.0, 9);
/// A full hour of a day in 2026.
const BEGIN: u64 = 1_792_800_000_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn open(disk: FakeDisk) -> History<FakeDisk> {
    History::open(disk, Options::default()).unwrap()
}

/// Reproducible random numbers from 0 to 1.
struct Dice(u64);

impl Dice {
    #[expect(clippy::cast_precision_loss, reason = "24 bits")]
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }

    /// Returns an approximately normal number with mean 0 and deviation 1.
    fn noise(&mut self) -> f64 {
        (0..12).map(|_| self.roll()).sum::<f64>() - 6.0
    }
}

/// Calls `each` for every ten seconds of this time range, and flushes like a real caller.
fn play(history: &mut History<FakeDisk>, from: u64, to: u64, mut each: impl FnMut(&mut History<FakeDisk>, u64)) {
    let mut flushed = from;
    for at in (from..to).step_by(10_000) {
        history.moment(at, SampleInterval::TenSeconds);
        each(history, at);
        if at - flushed >= 40_000 {
            history.flush();
            flushed = at;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "hours")]
fn hour_of(at: u64) -> f64 {
    (at % DAY) as f64 / HOUR as f64
}

/// Returns the samples of a day: a service with more traffic by day (CPU, memory that grows and is
/// collected, requests, latency, errors), an idle app and the machine.
/// Two thirds of the data is noise, and a real machine has more idle apps.
fn busy_day(dice: &mut Dice, at: u64) -> Vec<(&'static str, Scale, f64)> {
    let load = 1.0 + 0.8 * ((hour_of(at) - 15.0) * std::f64::consts::PI / 12.0).cos();
    let requests = (40.0 * load + (4.0 * load).sqrt() * dice.noise()).max(0.0);
    let burst = if dice.roll() < 0.02 { 30.0 * dice.roll() } else { 0.0 };
    let saw = (at / 10_000) % 90;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let memory = 90e6 + 250e3 * saw as f64 + 120e3 * dice.noise();
    vec![
        ("busy cpu", PERCENT, (requests * 0.4 + dice.noise() + burst).max(0.0)),
        ("busy memory", BYTES, memory),
        ("busy requests", PERCENT, requests),
        ("busy p95", PERCENT, 12.0 + 6.0 * load + 1.5 * dice.noise() + burst),
        ("busy errors", Scale::new(0.001, 5), if dice.roll() < 0.01 { 0.002 } else { 0.0 }),
        ("busy restarts", Scale::new(1.0, 10), if hour_of(at) > 11.0 { 1.0 } else { 0.0 }),
        ("idle cpu", PERCENT, if dice.roll() < 0.1 { 0.1 } else { 0.0 }),
        ("idle memory", BYTES, 41e6 + if dice.roll() < 0.05 { 8192.0 } else { 0.0 }),
        ("idle restarts", Scale::new(1.0, 10), 0.0),
        ("host cpu", PERCENT, (requests * 0.2 + 4.0 + 0.5 * dice.noise()).max(0.0)),
        ("host memory", BYTES, 2.1e9 + memory * 1.1),
        ("host load", Scale::new(0.01, 5), 0.4 * load + 0.05 * dice.noise().abs()),
    ]
}

/// Guarantees at most 0.6 bytes of disk for each sample of a day, including coarser tiers, names
/// and journals.
#[test]
fn day_needs_at_most_0_6_bytes_per_sample() {
    let (mut history, mut dice, mut samples) = (open(FakeDisk::default()), Dice(1), 0u32);
    play(&mut history, BEGIN, BEGIN + DAY, |history, at| {
        for (key, scale, value) in busy_day(&mut dice, at) {
            assert!(history.record(key, scale, value));
            samples += 1;
        }
    });
    history.flush();
    let bytes = u32::try_from(history.disk.total()).unwrap();
    let each = f64::from(bytes) / f64::from(samples);
    println!("{each:.3} bytes per sample: {bytes} for {samples} in {} files", history.disk.files.len());
    assert!(each <= 0.6, "{each}");
    assert!(history.take_notices().is_empty());
    // An idle series is complete, too.
    let quiet = history.query("idle cpu", BEGIN, BEGIN + DAY, 3000);
    assert!(quiet.figures.len() > 2800, "{}", quiet.figures.len());
}

/// Minimum, average and maximum of a year match those of all samples, whatever tiers hold them.
#[test]
fn year_query_is_correct_with_bounded_reads() {
    let mut history = open(FakeDisk::default());
    let value = |at: u64| f64::from(u32::try_from(at / 10_000 % 50).unwrap());
    play(&mut history, BEGIN, BEGIN + 365 * DAY, |history, at| {
        history.record("a", PERCENT, value(at));
        if at % DAY < HOUR {
            history.record("sometimes", PERCENT, 1.0);
        }
    });
    history.flush();
    let answer = history.query("a", BEGIN, BEGIN + 365 * DAY, 400);
    println!("{:?}, {} figures of {} h", answer.reads, answer.figures.len(), answer.step_ms / HOUR);
    // At most 250 reads of the size that the disk stores for a series. A query promises 20 ms, and
    // a read takes about 0.1 ms.
    assert!(answer.reads.blocks <= 250 && answer.reads.bytes <= 100 << 10, "{:?}", answer.reads);
    assert!(answer.figures.len() > 370 && answer.step_ms == 22 * HOUR);
    let wrong = |figure: &&Figure| figure.min != 0.0 || (figure.max - 4.9e1).abs() > 0.9 || (figure.avg - 24.5).abs() > 0.5;
    assert_eq!(answer.figures.iter().find(wrong), None);
    // Days are in steps of a minute and the last hours in steps of ten seconds. Nothing is counted
    // twice where tiers meet.
    for (back, points, step) in [(3 * DAY, 4000, 120_000), (2 * HOUR, 720, 10_000), (14 * DAY, 2000, 660_000), (40 * DAY, 1000, 3_480_000)]
    {
        let to = BEGIN + 365 * DAY - 10_000;
        let answer = history.query("a", to - back, to, points);
        assert_eq!(answer.step_ms, step);
        let whole = |figure: &&Figure| figure.at_ms >= to - back && figure.at_ms + step <= to;
        assert!(answer.figures.windows(2).all(|pair| pair[1].at_ms == pair[0].at_ms + step), "{back}: no gap");
        for figure in answer.figures.iter().filter(whole) {
            let real: Vec<f64> = (figure.at_ms..figure.at_ms + step).step_by(10_000).map(value).collect();
            let average = real.iter().sum::<f64>() / f64::from(u32::try_from(real.len()).unwrap());
            assert!((figure.avg - average).abs() <= 0.06 + average * 0.05, "{back}: {figure:?} and not {average}");
        }
    }
    // The number of files is bounded: 14 of hours, 8 of minutes, 13 of ten seconds.
    let count = |name: &str| history.disk.files.keys().filter(|file| file.starts_with(name) && file.ends_with(".seg")).count();
    assert!(count("1h-") <= 14 && count("1m-") <= 8 && count("10s-") <= 13, "{:?}", history.disk.files.keys());
    let rare = history.query("sometimes", BEGIN, BEGIN + 365 * DAY, 4000);
    assert!(rare.figures.len() >= 365 && rare.figures.len() <= 2 * 365, "{}", rare.figures.len());
}

#[test]
fn seconds_are_recorded_while_a_viewer_is_connected() {
    let mut history = open(FakeDisk::default());
    play(&mut history, BEGIN, BEGIN + HOUR, |history, _| {
        history.record("a", PERCENT, 2.0);
    });
    for at in (BEGIN + HOUR..BEGIN + HOUR + 20 * 60_000).step_by(1000) {
        history.moment(at, SampleInterval::Second);
        history.record("a", PERCENT, if at % 10_000 == 0 { 6.0 } else { 1.0 });
        if at % 30_000 == 0 {
            history.flush();
        }
    }
    let end = BEGIN + HOUR + 20 * 60_000;
    let fine = history.query("a", end - 300_000, end, 300);
    assert_eq!((fine.step_ms, fine.figures.len()), (1000, 300));
    let usual = history.query("a", end - 600_000, end, 60);
    assert_eq!(usual.step_ms, 10_000);
    assert!(usual.figures.iter().take(59).all(|figure| (figure.min, figure.avg, figure.max) == (1.0, 1.5, 6.0)), "{:?}", usual.figures);
    // Before a user watched, there is one value for each ten seconds.
    let both = history.query("a", end - 21 * 60_000, end, 4000);
    assert_eq!((both.step_ms, both.figures[0].avg), (1000, 2.0));
}

/// The process is killed at each byte that it writes. Exactly the flushed points are present
/// afterwards, and the store keeps working.
#[test]
fn kill_at_any_byte_keeps_every_flushed_point() {
    let value = |at: u64| f64::from(u32::try_from((at - BEGIN) / 10_000 % 60).unwrap()) / 10.0;
    let run = |disk: FakeDisk| {
        let mut history = open(disk);
        // Long enough for journals, blocks, a full segment and a roll-up.
        play(&mut history, BEGIN, BEGIN + 5 * HOUR, |history, at| {
            history.record("a", PERCENT, value(at));
            history.record("b", PERCENT, 7.0);
        });
        history.disk
    };
    let whole = run(FakeDisk { until_stop: Some(usize::MAX), ..FakeDisk::default() });
    let written = usize::MAX - whole.until_stop.unwrap();
    assert!(whole.files.keys().any(|name| name.starts_with("1m-")), "{:?}", whole.files.keys());
    let step = 397;
    let mut longest = 0;
    for stop in (1..written).step_by(step) {
        let torn = run(FakeDisk { until_stop: Some(stop), ..FakeDisk::default() });
        let mut history = open(FakeDisk { until_stop: None, ..torn });
        let answer = history.query("a", BEGIN, BEGIN + 5 * HOUR, 2000);
        // Values are consecutive and correct: no gap, no duplicate.
        assert_eq!(answer.step_ms, 10_000);
        for (at, figure) in answer.figures.iter().enumerate() {
            let should = BEGIN + 10_000 * at as u64;
            assert_eq!((figure.at_ms, (figure.avg * 10.0).round()), (should, value(should) * 10.0), "{stop}");
        }
        longest = longest.max(answer.figures.len());
        history.moment(BEGIN + 6 * HOUR, SampleInterval::TenSeconds);
        history.record("a", PERCENT, 3.0);
        history.flush();
        assert_eq!(history.query("a", BEGIN + 6 * HOUR, BEGIN + 6 * HOUR, 1).figures.len(), 1);
    }
    assert!(longest > 1700, "{longest}");
}

/// A kill without warning loses less than a minute.
#[test]
fn kill_loses_less_than_a_minute() {
    let end = BEGIN + HOUR + 590_000;
    let mut history = open(FakeDisk::default());
    play(&mut history, BEGIN, end, |history, _| {
        history.record("a", PERCENT, 1.0);
    });
    let history = open(history.disk);
    let last = history.query("a", BEGIN, end, 4000).figures.last().unwrap().at_ms;
    assert!(end - last <= 60_000 && FLUSH.as_secs() + 10 < 60, "{}", end - last);
}

#[test]
fn damaged_and_newer_files_are_set_aside() {
    let mut history = open(FakeDisk::default());
    play(&mut history, BEGIN, BEGIN + 60 * HOUR, |history, _| {
        history.record("a", PERCENT, 1.0);
    });
    let good = history.disk;
    let names: Vec<String> = good.files.keys().cloned().collect();
    for name in &names {
        let length = good.files[name].len();
        for at in [0, 8, 9, 17, 20, 40, 70, length / 2, length - 1] {
            let mut disk = good.clone();
            let Some(byte) = disk.files.get_mut(name).unwrap().get_mut(at) else { continue };
            *byte ^= 0x5a;
            let mut history = open(disk);
            let answer = history.query("a", BEGIN, BEGIN + 60 * HOUR, 4000);
            let notices = history.take_notices();
            assert!(
                !notices.is_empty() || answer.reads.damaged > 0 || answer.figures.iter().all(|figure| figure.avg == 1.0),
                "{name} {at}"
            );
            assert!(answer.figures.iter().all(|figure| (figure.min, figure.max) == (1.0, 1.0)), "{name} {at}: a wrong figure");
            play(&mut history, BEGIN + 60 * HOUR, BEGIN + 66 * HOUR, |history, _| {
                history.record("a", PERCENT, 1.0);
            });
            let after = history.query("a", BEGIN + 60 * HOUR, BEGIN + 66 * HOUR, 4000);
            assert!(after.figures.len() > 2150, "{name} {at}: goes on");
        }
        // A valid file of a newer version.
        let mut disk = good.clone();
        let bytes = disk.files.get_mut(name).unwrap();
        bytes[8] = 9;
        let sum = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        let mut history = open(disk);
        let aside = format!("{name}.aside");
        let expected = Notice::SetAside { file: name.clone(), aside: Some(aside.clone()), why: "was written by a newer version" };
        assert_eq!(history.take_notices(), [expected], "{name}");
        assert!(history.disk.files.contains_key(&aside));
        // A reader does not touch the file.
        let disk = FakeDisk { files: [(name.clone(), history.disk.files[&aside].clone())].into(), ..FakeDisk::default() };
        let read = History::read(disk).unwrap();
        assert_eq!(read.disk.files.keys().collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn junk_files_are_set_aside_with_a_bound() {
    let mut disk = FakeDisk::default();
    for (name, bytes) in [("1s-00000001.seg", vec![0xff; 5000]), ("10s.journal", vec![0; 700]), ("names", vec![7; 90]), ("x", vec![1])] {
        disk.files.insert(name.into(), bytes);
    }
    for number in 0..20 {
        disk.files.insert(format!("1h-{number:08}.seg"), Vec::new());
    }
    let mut history = open(disk);
    assert!(history.take_notices().len() >= 20 && history.query("a", 0, u64::MAX, 10).figures.is_empty());
    let asides = history.disk.files.keys().filter(|name| name.ends_with(".aside")).count();
    assert!(asides <= 4 && history.disk.files.contains_key("x"), "{:?}", history.disk.files.keys());
}

/// On a full disk, memory is bounded, the problem is reported once, and writing resumes when there
/// is room.
#[test]
fn full_disk_bounds_memory_and_writing_resumes() {
    let mut history = open(FakeDisk::default());
    let fill = |history: &mut History<FakeDisk>, from: u64, hours: u64| {
        play(history, from, from + hours * HOUR, |history, _| {
            for n in 0..20 {
                history.record(&format!("series {n}"), PERCENT, 1.0);
            }
        });
        let waiting: usize = history.live.values().map(|live| live.loose.iter().map(|loose| loose.bytes().len()).sum::<usize>()).sum();
        assert!(waiting < 40 << 10, "{waiting} bytes wait");
        history.take_notices()
    };
    assert_eq!(fill(&mut history, BEGIN, 1), []);
    history.disk.room = Some(history.disk.total());
    let notices = fill(&mut history, BEGIN + HOUR, 10);
    assert!(
        matches!(notices[0], Notice::CannotWrite { .. }) && matches!(notices[1], Notice::Dropped { points } if points > 0),
        "{notices:?}"
    );
    // The dropped points leave room in the journal for a while.
    assert!(notices.len() < 30, "{notices:?}");
    history.disk.room = None;
    assert_eq!(fill(&mut history, BEGIN + 11 * HOUR, 2)[0], Notice::WritesAgain);
    let again = open(history.disk);
    assert!(again.query("series 3", BEGIN + 11 * HOUR, BEGIN + 13 * HOUR, 4000).figures.len() > 710);
    assert!(again.query("series 3", BEGIN, BEGIN + 40 * 60_000, 4000).figures.len() >= 239, "and what was in a block before is as it was");
}

/// The limit holds at any time.
#[test]
fn total_file_size_stays_within_limit() {
    let most_bytes = 100 << 10;
    let mut history = History::open(FakeDisk::default(), Options { most_bytes }).unwrap();
    let mut dice = Dice(2);
    play(&mut history, BEGIN, BEGIN + 8 * DAY, |history, at| {
        for (key, scale, value) in busy_day(&mut dice, at) {
            history.record(key, scale, value);
        }
        assert!(history.disk.total() as u64 <= most_bytes);
    });
    let answer = history.query("busy cpu", BEGIN, BEGIN + 8 * DAY, 1000);
    assert!(answer.figures.last().unwrap().at_ms >= BEGIN + 8 * DAY - HOUR, "the newest stay");
}

#[test]
fn series_limit_holds_for_100_000_names() {
    let mut history = open(FakeDisk::default());
    play(&mut history, BEGIN, BEGIN + 100_000, |history, _| {
        for n in 0..10_000 {
            history.record(&format!("made up {n}"), PERCENT, 1.0);
        }
    });
    assert_eq!(history.keys().count(), MOST_SERIES);
    assert_eq!(history.take_notices(), [Notice::TooMany]);
    assert_eq!(history.left_out(), 10 * (10_000 - MOST_SERIES as u64));
    assert!(history.disk.total() < 1 << 20, "{}", history.disk.total());
    assert!(!history.record(&"x".repeat(LONGEST_KEY + 1), PERCENT, 1.0) && !history.record("a", PERCENT, f64::NAN));
    // Each hour has new names. Names without a point make room, and memory and disk stay bounded.
    let mut at = BEGIN + HOUR;
    for round in 0..40 {
        play(&mut history, at, at + 5 * 60_000, |history, _| {
            for n in 0..1000 {
                history.record(&format!("{round} {n}"), PERCENT, 1.0);
            }
        });
        at += HOUR;
    }
    assert!(history.keys().count() <= 16_384);
    assert!(history.query("39 5", at - HOUR, at, 4000).figures.len() < 35);
}

/// Names without a point in any file make room for others.
#[test]
fn names_without_points_are_replaced() {
    let mut history = History::open(FakeDisk::default(), Options { most_bytes: 700 << 10 }).unwrap();
    let mut at = BEGIN;
    for round in 0..32 {
        play(&mut history, at, at + HOUR, |history, at| {
            for n in 0..if at % 60_000 == 0 { 600 } else { 0 } {
                history.record(&format!("{round} {n}"), PERCENT, 1.0);
            }
        });
        at += HOUR;
    }
    let newest = history.query("31 7", at - HOUR, at, 4000).figures.len();
    assert!(newest > 5, "{newest}: 19,200 names came, and the last ones are kept, too");
    assert!(history.keys().count() <= 16_384);
}

#[test]
fn samples_follow_a_clock_set_back_and_forward() {
    let mut history = open(FakeDisk::default());
    let each = |value: f64| {
        move |history: &mut History<FakeDisk>, _: u64| {
            history.record("a", PERCENT, value);
        }
    };
    play(&mut history, BEGIN, BEGIN + 2 * HOUR, each(1.0));
    // Set back by less than a minute: the store waits.
    play(&mut history, BEGIN + 2 * HOUR - 50_000, BEGIN + 2 * HOUR + 10_000, each(1.0));
    assert_eq!(history.take_notices(), []);
    // Years ahead, and back: the samples are at the times that the clock showed.
    let ahead = BEGIN + 4 * 365 * DAY;
    play(&mut history, ahead, ahead + HOUR, each(5.0));
    play(&mut history, BEGIN + 3 * HOUR, BEGIN + 4 * HOUR, each(2.0));
    assert!(matches!(history.take_notices()[..], [Notice::ClockBack { .. }]));
    // Set back by an hour: that hour has the samples of both.
    play(&mut history, BEGIN + 3 * HOUR, BEGIN + 4 * HOUR, each(4.0));
    history.flush();
    let history = open(history.disk);
    let average = |from: u64| {
        let answer = history.query("a", from, from + HOUR - 10_000, 360);
        (answer.figures.len() >= 355, answer.figures[100].avg, answer.figures.is_sorted_by(|one, other| one.at_ms < other.at_ms))
    };
    assert_eq!(average(BEGIN), (true, 1.0, true));
    assert_eq!(average(ahead), (true, 5.0, true));
    assert_eq!(average(BEGIN + 3 * HOUR), (true, 3.0, true));
}

/// A clock that jumps with each sample neither wears out the files nor displaces old data.
#[test]
fn erratic_clock_neither_fills_disk_nor_displaces_data() {
    let mut history = open(FakeDisk::default());
    play(&mut history, BEGIN, BEGIN + 5 * HOUR, |history, _| {
        history.record("a", PERCENT, 1.0);
    });
    for n in 0..10_000u64 {
        history.moment(
            [BEGIN + 6 * HOUR, BEGIN - 300 * DAY, 0, u64::MAX][usize::try_from(n % 4).unwrap()] / (1 + n % 3),
            SampleInterval::Second,
        );
        history.record("a", PERCENT, 9.0);
        if n % 40 == 0 {
            history.flush();
        }
    }
    assert!(history.take_notices().len() <= 64 && history.disk.total() < 200 << 10, "{}", history.disk.total());
    let before = history.query("a", BEGIN, BEGIN + 5 * HOUR - 10_000, 4000);
    assert!(before.figures.len() >= 1780, "{}", before.figures.len());
    let _ = history.query("a", 0, u64::MAX, 4000);
}

/// A reader beside the writer always sees everything that was flushed.
#[test]
fn concurrent_reader_sees_every_flushed_point() {
    let mut history = open(FakeDisk::default());
    play(&mut history, BEGIN, BEGIN + 9 * HOUR, |history, at| {
        history.record("a", PERCENT, 1.0);
        if at % 70_000 == 0 && at > BEGIN + 60_000 {
            let read = History::read(history.disk.clone()).unwrap();
            let answer = read.query("a", BEGIN, at, 4000);
            let count = (at - BEGIN) / 10_000;
            assert!(
                answer.figures.len() as u64 + 6 >= count && answer.figures.len() as u64 <= count,
                "{} of {count}",
                answer.figures.len()
            );
        }
    });
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]
    /// For any clock, values and queries: no panic, ordered results, and values within the range of
    /// the samples.
    #[test]
    fn queries_are_ordered_and_within_range_for_any_samples(
        moves in proptest::collection::vec((-100_000i64..500_000, -1e6..1e6, proptest::bool::ANY), 1..300),
        from: u64,
        points: u64,
    ) {
        let mut history = open(FakeDisk::default());
        let mut at = BEGIN.cast_signed();
        for (step, value, fine) in moves {
            at += step;
            history.moment(at.cast_unsigned(), if fine { SampleInterval::Second } else { SampleInterval::TenSeconds });
            history.record("a", PERCENT, value);
            history.flush();
        }
        let at = at.cast_unsigned();
        for (from, to) in [(BEGIN, at), (at, BEGIN), (from, u64::MAX), (0, from)] {
            let answer = history.query("a", from, to, points);
            proptest::prop_assert!(answer.figures.is_sorted_by(|one, other| one.at_ms < other.at_ms));
            proptest::prop_assert!(answer.figures.iter().all(|figure| figure.min <= figure.avg && figure.avg <= figure.max && figure.min >= -1.02e6 && figure.max <= 1.02e6));
        }
    }
}
