//! Parses text into a [`Schedule`].

use super::{Days, Field, Schedule, Weekdays};
use crate::message;
use crate::text::suggest::closest;

/// Reason why a text is not a pattern. One lowercase line for users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The number of fields is neither 5 nor 6.
    #[error("{}", message!("expected 5 fields (minute hour day month weekday) or 6 (second first), found {count}", count = _0))]
    Fields(usize),
    /// An invalid field.
    #[error("{field} {part:?}: {reason}{}", near(part, field.names()))]
    Field {
        /// The field.
        field: Field,
        /// Invalid part of the field.
        part: String,
        /// Description of the expected value.
        reason: String,
    },
    /// `@something`.
    #[error(
        "{}",
        message!(
            "unknown word {word}; known are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually{near}",
            word = format!("{_0:?}"),
            near = near_word(_0)
        )
    )]
    Word(String),
    /// `@reboot`, which has no time.
    #[error("{}", message!("@reboot is not supported: saved apps start at boot without it"))]
    Reboot,
    /// A date that does not exist.
    #[error("{}", message!("no such date exists, it would never run"))]
    Never,
}

const WORDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

fn near_word(word: &str) -> String {
    near(word, &WORDS.map(|(known, _)| known))
}

/// Returns `, did you mean "MON"?` for a part with a word that is close to one of these names:
/// `MNO`, `Monday`. The first letter must fit, because names of three letters are close to many words.
fn near(part: &str, names: &[&str]) -> String {
    let words = part.split(|c: char| !c.is_alphabetic() && c != '@');
    let unknown = words.filter(|word| word.len() > 1 && !names.iter().any(|name| name.eq_ignore_ascii_case(word)));
    let mut found = unknown.filter_map(|word| {
        let head = if word.starts_with('@') { word } else { word.get(..3).unwrap_or(word) };
        let fits = |name: &&str| name.get(..1).zip(word.get(..1)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
        closest(head, names.iter().copied().filter(fits))
    });
    found.next().map(|name| message!(", did you mean \"{near}\"?", near = name)).unwrap_or_default()
}

impl Schedule {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Returns an error that names the invalid field, or reports that the date never occurs
    /// (`0 0 31 2 *`).
    pub fn parse(pattern: &str) -> Result<Self, CronError> {
        let pattern = pattern.trim();
        if pattern.starts_with('@') {
            return parse_word(pattern);
        }
        let fields: Vec<&str> = pattern.split_ascii_whitespace().collect();
        let (second, rest) = match fields.as_slice() {
            [second, rest @ ..] if rest.len() == 5 => (*second, rest),
            rest if rest.len() == 5 => ("0", rest),
            _ => return Err(CronError::Fields(fields.len())),
        };
        let schedule = Self {
            second: set(Field::Second, second)?,
            minute: set(Field::Minute, rest[0])?,
            hour: set(Field::Hour, rest[1])?,
            day: days(rest[2])?,
            month: set(Field::Month, rest[3])?,
            weekday: weekdays(rest[4])?,
        };
        if schedule.has_match() { Ok(schedule) } else { Err(CronError::Never) }
    }

    /// Returns true if both day fields restrict. In classic cron one match is enough; here (as in
    /// PM2) both have to match.
    pub fn restricts_both_days(&self) -> bool {
        let any_day = Days { on: full(1, 31), ..Days::default() };
        let any_weekday = Weekdays { on: full(0, 6), ..Weekdays::default() };
        self.day != any_day && self.weekday != any_weekday
    }
}

fn parse_word(word: &str) -> Result<Schedule, CronError> {
    if word.eq_ignore_ascii_case("@reboot") {
        return Err(CronError::Reboot);
    }
    let known = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    known.map_or_else(|| Err(CronError::Word(word.to_owned())), |(_, pattern)| Schedule::parse(pattern))
}

/// Returns the bits from one value to another.
pub(super) fn full(from: u32, to: u32) -> u64 {
    (from..=to).fold(0, |bits, value| bits | 1 << value)
}

/// Returns the parts of a list. Empty parts are skipped, as in PM2 (`1,2,`).
fn parts(field: Field, text: &str) -> Result<impl Iterator<Item = &str>, CronError> {
    let mut parts = text.split(',').filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return Err(wrong(field, text, message!("expected a value")));
    }
    Ok(parts)
}

fn wrong(field: Field, part: &str, reason: String) -> CronError {
    CronError::Field { field, part: part.to_owned(), reason }
}

fn bits(field: Field, part: &str) -> Result<u64, CronError> {
    field.bits(part).map_err(|reason| wrong(field, part, reason))
}

fn set(field: Field, text: &str) -> Result<u64, CronError> {
    parts(field, text)?.try_fold(0, |all, part| Ok(all | bits(field, part)?))
}

fn days(text: &str) -> Result<Days, CronError> {
    let field = Field::Day;
    let mut days = Days::default();
    for part in parts(field, text)? {
        if part.eq_ignore_ascii_case("L") {
            days.last = true;
        } else if part.eq_ignore_ascii_case("LW") {
            days.last_weekday = true;
        } else if let Some(day) = part.strip_suffix(['W', 'w']) {
            days.weekday_near |= 1 << field.value(day).map_err(|reason| wrong(field, part, message!("{reason} before the W", reason)))?;
        } else {
            days.on |= bits(field, part)?;
        }
    }
    Ok(days)
}

fn weekdays(text: &str) -> Result<Weekdays, CronError> {
    let field = Field::Weekday;
    let mut weekdays = Weekdays::default();
    for part in parts(field, text)? {
        if let Some((day, nth)) = part.split_once('#') {
            let day = one_weekday(day, part)?;
            match nth.parse::<usize>() {
                Ok(nth @ 1..=5) => weekdays.nth[nth - 1] |= day,
                _ if nth.eq_ignore_ascii_case("L") => weekdays.last |= day,
                _ => return Err(wrong(field, part, message!("expected 1 to 5 or L after the #"))),
            }
        } else if let Some(day) = part.strip_suffix(['L', 'l']) {
            weekdays.last |= one_weekday(day, part)?;
        } else {
            weekdays.on |= bits(field, part)?;
        }
    }
    Ok(weekdays)
}

/// Returns the bit of a single day.
fn one_weekday(day: &str, part: &str) -> Result<u8, CronError> {
    let field = Field::Weekday;
    let value = field.value(day).map_err(|reason| wrong(field, part, message!("{reason} in front", reason)))?;
    Ok(1 << (value % 7))
}
