//! Patterns of paths: `*`, `?`, `[a-z]`, `**`, `{a,b}`, `@(a|b)`, `?(a)`. Names with a leading dot
//! are not special.
//!
//! Matching takes at most time in proportion to pattern times path, for any pattern: it backtracks
//! only to the last star.

use crate::message;

/// Largest number of alternatives that braces may expand to.
const MAX_ALTERNATIVES: usize = 256;
/// Longest pattern.
const MAX_BYTES: usize = 1000;

/// Reason why a text is no pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Text that is too long; its length in bytes.
    #[error("{}", message!("a pattern is limited to {most} bytes, this has {length}", most = MAX_BYTES, length = _0))]
    TooLong(usize),
    /// Braces with too many combinations.
    #[error("{}", message!("it expands to more than {most} patterns", most = MAX_ALTERNATIVES))]
    TooMany,
    /// Bracket, brace or parenthesis that is not closed.
    #[error("{}", message!("\"{open}\" without its \"{close}\"", open, close))]
    Unclosed {
        /// Opening characters.
        open: String,
        /// Missing character.
        close: char,
    },
    /// Group that begins with this character and a parenthesis, such as `!(a)`.
    #[error("{}", message!("\"{character}(\" is not supported; use a regular expression: \"regex:…\"", character = _0))]
    Unsupported(char),
    /// Range in braces, such as `{1..5}`.
    #[error("{}", message!("a range in braces is not supported; list its members"))]
    BraceRange,
    /// Range in brackets whose end comes before its start.
    #[error("{}", message!("\"{first}-{last}\" is out of order", first = _0, last = _1))]
    Unordered(char, char),
}

impl GlobError {
    fn unclosed_set() -> Self {
        Self::Unclosed { open: "[".into(), close: ']' }
    }
}

/// A pattern of whole paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    alternatives: Vec<Vec<Segment>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`: any number of folders.
    Any,
    /// `**` at the end, if it excludes the folder itself.
    Inside,
    /// One name.
    Name(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Many,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// Dialect of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// As chokidar reads `ignore_watch`.
    Watch,
    /// As git reads `.gitignore`: no braces; a final `**` matches the contents, not the folder.
    Git,
}

/// Returns true if the text contains more than a plain path.
pub fn is_glob(text: &str) -> bool {
    let mut previous = ' ';
    text.chars().any(|c| {
        let special = matches!(c, '*' | '?' | '[' | '{') && previous != '\\' || c == '(' && matches!(previous, '@' | '!' | '+');
        previous = c;
        special
    })
}

/// Splits a text into the folder before the first pattern part, and the rest: `src/**/*.js` is
/// `src` and `**/*.js`.
pub fn split_base(text: &str) -> (&str, &str) {
    let mut at = 0;
    for part in text.split_inclusive('/') {
        if is_glob(part) {
            break;
        }
        at += part.len();
    }
    let (base, rest) = text.split_at(at);
    let trimmed = base.trim_end_matches('/');
    (if trimmed.is_empty() && base.starts_with('/') { "/" } else { trimmed }, rest)
}

impl Glob {
    /// Returns a pattern below a folder (an absolute path, taken literally), or below the root if
    /// the pattern begins with a slash.
    ///
    /// # Errors
    /// Returns the reason why it is invalid.
    pub fn below(folder: &str, pattern: &str) -> Result<Self, GlobError> {
        if pattern.len() > MAX_BYTES {
            return Err(GlobError::TooLong(pattern.len()));
        }
        let mut glob = Self::parse(pattern, Dialect::Watch)?;
        if !pattern.starts_with('/') {
            let prefix: Vec<Segment> = parts(folder.as_bytes()).iter().map(|part| Segment::literal(part)).collect();
            for alternative in &mut glob.alternatives {
                alternative.splice(0..0, prefix.iter().cloned());
            }
        }
        glob.alternatives.iter_mut().for_each(resolve_dots);
        Ok(glob)
    }

    pub(super) fn parse(pattern: &str, dialect: Dialect) -> Result<Self, GlobError> {
        let texts = if dialect == Dialect::Watch { expand(pattern)? } else { vec![pattern.to_owned()] };
        let alternatives = texts.iter().map(|text| segments(text, dialect)).collect::<Result<_, _>>()?;
        Ok(Self { alternatives })
    }

    /// Returns the same pattern at any depth.
    pub(super) fn anywhere(mut self) -> Self {
        self.alternatives.iter_mut().for_each(|alternative| alternative.insert(0, Segment::Any));
        self
    }

    /// Returns true if it matches the whole path.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.matches_parts(&parts(path))
    }

    /// Same as [`Glob::matches`] for a path that is already split.
    pub(super) fn matches_parts(&self, parts: &[&[u8]]) -> bool {
        self.alternatives.iter().any(|segments| match_segments(segments, parts))
    }
}

impl Segment {
    fn literal(name: &[u8]) -> Self {
        Self::Name(name.iter().map(|byte| Token::Byte(*byte)).collect())
    }

    fn is(&self, name: &[u8]) -> bool {
        *self == Self::literal(name)
    }
}

/// Returns the names of a path.
pub(super) fn parts(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect()
}

/// Resolves `.` and `..` as in a path.
fn resolve_dots(segments: &mut Vec<Segment>) {
    let mut out: Vec<Segment> = Vec::with_capacity(segments.len());
    for segment in segments.drain(..) {
        match segment {
            dot if dot.is(b".") => {}
            dots if dots.is(b"..") => drop(out.pop()),
            other => out.push(other),
        }
    }
    *segments = out;
}

/// Expands the braces and brackets of alternatives.
fn expand(pattern: &str) -> Result<Vec<String>, GlobError> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(text) = open.pop() {
        if done.len() + open.len() > MAX_ALTERNATIVES {
            return Err(GlobError::TooMany);
        }
        match first_group(&text)? {
            None => done.push(text),
            Some(group) => {
                for choice in &group.choices {
                    open.push(format!("{}{choice}{}", &text[..group.start], &text[group.end..]));
                }
            }
        }
    }
    Ok(done)
}

struct Group {
    start: usize,
    end: usize,
    choices: Vec<String>,
}

/// Returns the first group of alternatives in a text.
fn first_group(text: &str) -> Result<Option<Group>, GlobError> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\\', _) => at += 1,
            (b'[', _) => at = end_of_set(bytes, at).ok_or_else(GlobError::unclosed_set)?,
            (b'{', _) => return group(text, at, at + 1, b',', b'}').map(Some),
            (b'@', Some(b'(')) => return group(text, at, at + 2, b'|', b')').map(Some),
            (b'?', Some(b'(')) => {
                let mut found = group(text, at, at + 2, b'|', b')')?;
                found.choices.push(String::new());
                return Ok(Some(found));
            }
            (kind @ (b'!' | b'+' | b'*'), Some(b'(')) => {
                return Err(GlobError::Unsupported(kind as char));
            }
            _ => {}
        }
        at += 1;
    }
    Ok(None)
}

fn group(text: &str, start: usize, from: usize, comma: u8, close: u8) -> Result<Group, GlobError> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut piece) = (from, 0_u32, from);
    let mut choices = Vec::new();
    while at < bytes.len() {
        let byte = bytes[at];
        match byte {
            b'\\' => at += 1,
            b'[' => at = end_of_set(bytes, at).ok_or_else(GlobError::unclosed_set)?,
            _ if depth == 0 && (byte == comma || byte == close) => {
                choices.push(text[piece..at].to_owned());
                piece = at + 1;
                if byte == close {
                    if close == b'}' && choices.len() == 1 && choices[0].contains("..") {
                        return Err(GlobError::BraceRange);
                    }
                    return Ok(Group { start, end: at + 1, choices });
                }
            }
            b'{' | b'(' => depth += 1,
            b'}' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Err(GlobError::Unclosed { open: text[start..from].escape_debug().to_string(), close: close as char })
}

/// Returns the position of the `]` of this `[`.
fn end_of_set(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    at += usize::from(matches!(bytes.get(at), Some(b'!' | b'^')));
    // A `]` in the first position is a member.
    at += usize::from(bytes.get(at) == Some(&b']'));
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b']' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

fn segments(text: &str, dialect: Dialect) -> Result<Vec<Segment>, GlobError> {
    let mut names = split_names(text)?;
    names.retain(|name| !name.is_empty());
    let last = names.len().saturating_sub(1);
    names
        .iter()
        .enumerate()
        .map(|(at, name)| match *name {
            "**" if dialect == Dialect::Git && at == last => Ok(Segment::Inside),
            "**" => Ok(Segment::Any),
            name => tokens(name).map(Segment::Name),
        })
        .collect()
}

/// Splits the names at slashes, except slashes in sets.
fn split_names(text: &str) -> Result<Vec<&str>, GlobError> {
    let bytes = text.as_bytes();
    let (mut at, mut piece) = (0, 0);
    let mut names = Vec::new();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' => at = end_of_set(bytes, at).ok_or_else(GlobError::unclosed_set)?,
            b'/' => {
                names.push(&text[piece..at]);
                piece = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    names.push(&text[piece..]);
    Ok(names)
}

fn tokens(name: &str) -> Result<Vec<Token>, GlobError> {
    let bytes = name.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'*' if tokens.last() == Some(&Token::Many) => {}
            b'*' => tokens.push(Token::Many),
            b'?' => tokens.push(Token::One),
            b'[' => {
                let end = end_of_set(bytes, at).ok_or_else(GlobError::unclosed_set)?;
                tokens.push(set(&name[at + 1..end])?);
                at = end;
            }
            b'\\' if at + 1 < bytes.len() => {
                at += 1;
                tokens.push(Token::Byte(bytes[at]));
            }
            byte => tokens.push(Token::Byte(byte)),
        }
        at += 1;
    }
    Ok(tokens)
}

fn set(inner: &str) -> Result<Token, GlobError> {
    let (negated, members) = match inner.strip_prefix(['!', '^']) {
        Some(rest) => (true, rest),
        None => (false, inner),
    };
    let mut ranges = Vec::new();
    let mut chars = members.chars().peekable();
    let unescaped = |c: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>| if c == '\\' { chars.next().unwrap_or(c) } else { c };
    while let Some(c) = chars.next() {
        let from = unescaped(c, &mut chars);
        let mut ahead = chars.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) => {
                chars = ahead;
                unescaped(to, &mut chars)
            }
            _ => from,
        };
        if to < from {
            return Err(GlobError::Unordered(from, to));
        }
        ranges.push((from, to));
    }
    Ok(Token::Set { negated, ranges })
}

fn match_segments(segments: &[Segment], parts: &[&[u8]]) -> bool {
    let (mut segment, mut part) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while part < parts.len() {
        match segments.get(segment) {
            Some(Segment::Inside) => return true,
            Some(Segment::Any) => {
                segment += 1;
                star = Some((segment, part));
            }
            Some(Segment::Name(tokens)) if match_name(tokens, parts[part]) => {
                segment += 1;
                part += 1;
            }
            _ => match &mut star {
                // The last `**` matches one more name.
                Some((after, taken)) => {
                    *taken += 1;
                    (segment, part) = (*after, *taken);
                }
                None => return false,
            },
        }
    }
    segments.get(segment..).unwrap_or_default().iter().all(|rest| *rest == Segment::Any)
}

fn match_name(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        let taken = match tokens.get(token) {
            Some(Token::Many) => {
                token += 1;
                star = Some((token, at));
                continue;
            }
            Some(Token::Byte(byte)) => usize::from(*byte == name[at]),
            Some(Token::One) => char_at(&name[at..]).1,
            Some(Token::Set { negated, ranges }) => {
                let (c, length) = char_at(&name[at..]);
                let is_in = c.is_some_and(|c| ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)));
                if is_in != *negated { length } else { 0 }
            }
            None => 0,
        };
        if taken > 0 {
            token += 1;
            at += taken;
            continue;
        }
        match &mut star {
            Some((after, eaten)) => {
                *eaten += 1;
                (token, at) = (*after, *eaten);
            }
            None => return false,
        }
    }
    tokens.get(token..).unwrap_or_default().iter().all(|rest| *rest == Token::Many)
}

/// Returns the first character and its length; a byte that is not part of a character represents
/// itself.
fn char_at(bytes: &[u8]) -> (Option<char>, usize) {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().map_or((None, 1), |c| (Some(c), c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is(pattern: &str, path: &str) -> bool {
        Glob::below("/w", pattern).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn glob_patterns_match_paths() {
        for (pattern, path, expected) in [
            ("logs", "/w/logs", true),
            ("logs", "/w/a/logs", false),
            ("./logs/", "/w/logs", true),
            ("../x", "/x", true),
            ("/abs/*.tmp", "/abs/a.tmp", true),
            ("/abs/*.tmp", "/w/abs/a.tmp", false),
            ("*.js", "/w/a.js", true),
            ("*.js", "/w/.a.js", true),
            ("*.js", "/w/x/a.js", false),
            ("**/*.js", "/w/a.js", true),
            ("**/*.js", "/w/x/y/a.js", true),
            ("src/**", "/w/src", true),
            ("src/**", "/w/src/a/b", true),
            ("src/**/test/*.js", "/w/src/test/a.js", true),
            ("src/**/test/*.js", "/w/src/a/b/test/a.js", true),
            ("src/**/test/*.js", "/w/src/a/b/test/c/a.js", false),
            ("**/a/**/b", "/w/a/x/a/y/b", true),
            ("a?c", "/w/abc", true),
            ("a?c", "/w/aéc", true),
            ("a?c", "/w/ac", false),
            ("[a-c]x", "/w/bx", true),
            ("[!a-c]x", "/w/bx", false),
            ("[^a-c]x", "/w/dx", true),
            ("[]a]x", "/w/]x", true),
            ("[é]x", "/w/éx", true),
            ("*.{js,ts}", "/w/a.ts", true),
            ("*.{js,ts}", "/w/a.rs", false),
            ("{a,b/{c,d}}/e", "/w/b/d/e", true),
            ("*.@(js|ts)", "/w/a.js", true),
            ("a?(b)c", "/w/ac", true),
            ("a?(b)c", "/w/abc", true),
            (r"\*.js", "/w/*.js", true),
            (r"\*.js", "/w/a.js", false),
            ("a*b*c", "/w/axxbxxbc", true),
            ("a*b*c", "/w/axxbxxb", false),
            ("a(b)", "/w/a(b)", true),
        ] {
            assert_eq!(is(pattern, path), expected, "{pattern} {path}");
        }
        assert!(Glob::below("/w [x]", "*.js").unwrap().matches(b"/w [x]/a.js"));
        assert!(Glob::below("/w", "a*").unwrap().matches(b"/w/a\xff\xfe"));
    }

    #[test]
    fn invalid_pattern_error_names_the_problem() {
        for (pattern, expected) in [
            ("[a", "\"[\" without its \"]\""),
            ("{a,b", "\"{\" without its \"}\""),
            ("@(a|b", "\"@(\" without its \")\""),
            ("!(a)", "\"!(\" is not supported; use a regular expression: \"regex:…\""),
            ("[z-a]", "\"z-a\" is out of order"),
            ("{1..5}", "a range in braces is not supported; list its members"),
            ("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", "it expands to more than 256 patterns"),
        ] {
            assert_eq!(Glob::below("/w", pattern).unwrap_err().to_string(), expected, "{pattern}");
        }
        assert!(Glob::below("/", &"a".repeat(1001)).is_err());
    }

    #[test]
    fn glob_is_split_into_base_and_pattern() {
        for (text, expected) in [
            ("src/**/*.js", ("src", "**/*.js")),
            ("*.js", ("", "*.js")),
            ("/a/b*/c", ("/a", "b*/c")),
            ("/*", ("/", "*")),
            ("a/b", ("a/b", "")),
        ] {
            assert_eq!(split_base(text), expected, "{text}");
        }
        assert!(is_glob("a*") && is_glob("@(a)") && !is_glob("a(b)") && !is_glob(r"a\*"));
    }

    proptest! {
        #[test]
        fn matching_any_pattern_and_path_never_panics(pattern in "[a/*?\\[\\]{},!()@.\\\\-]{0,40}", path in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(glob) = Glob::below("/w", &pattern) {
                let _ = glob.matches(&path);
            }
        }

        #[test]
        fn a_path_matches_itself(path in "(/[a-z.]{1,5}){1,4}") {
            prop_assert!(path.contains("/.") || Glob::below("/", &path).is_ok_and(|glob| glob.matches(path.as_bytes())));
        }
    }
}
