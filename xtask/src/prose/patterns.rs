//! Patterns of sentences that readers stumble over.
//!
//! The patterns are heuristics. On well-read code bases (tokio, hyper, rustls, regex) they match
//! 0.5 to 1 sentence per 1,000 words; a text that matches much more often is hard to read. A match
//! means "rewrite this sentence for its reader", not "replace this word".

use regex::{Regex, RegexBuilder};
use std::sync::LazyLock;

/// Pattern with a name for the report.
pub(super) struct Pattern {
    /// Name that the report prints.
    pub(super) name: &'static str,
    regex: Regex,
    /// Whether a question may match without being reported.
    questions_allowed: bool,
}

/// Patterns as name, expression, and whether questions are exempt.
const TABLE: &[(&str, &str, bool)] = &[
    // The actor has no name.
    ("nobody", r"(?i)\b(nobody|somebody|whoever|whomever|whichever|no-one|no one|someone|anybody)\b", false),
    ("one-that", r"(?i)\b(none|one|ones) (that|which|who|whose|of (its|their) own)\b|\b(that|those|what) which\b", false),
    ("what-is", r"(^|[.:;] |\) )(What|Who|Whose|Whom|Whatever) ", true),
    ("what-clause", r"\b(from|of|with|by|for|to|on|in|after|before|as|than|and|that|but|beside) what [a-z]", true),
    // Verbs that describe people, not programs.
    (
        "told",
        r"(?i)\b(is|are|was|were|be|been|being|gets|get) (also |then |only |not |never |already )?(told|heard|said|looked (at|after|for)|asked for|seen to|meant)\b",
        false,
    ),
    ("tells", r"\b(tells|told|says|said|hears|heard|learns|learnt|learned|heeds|heeded)\b", false),
    ("looks-at", r"\blook(s|ed|ing)? (at|after)\b|\b(sees|saw|seen|see) to\b|\b(begin|begins|began) (anew|again)\b", false),
    ("goes-on", r"\b(goes|go|went|gone|going) (on|away|again)\b|\b(comes?|came|coming) back\b", false),
    ("stands", r"\b(stand|stands|stood) (in|there|beside|at|on|behind|before|above|below|where|here|alone|first|last)\b", false),
    ("lies", r"\b(lies|lie|lay) (in|there|beside|at|on|behind|before|above|below|where)\b", false),
    (
        "under-way",
        r"\bgets? well\b|\b(is|are) well\b|\bunder ?way\b|\b(gets|got|has|have) (its|their) turn\b|\bhas (the|its|their) (say|word)\b",
        false,
    ),
    // The order of words is unusual.
    ("inverted", r"(^|[.:;] )(Is|Are|Was|Were|Does|Do|Did|Has|Have|Had|Can|May|Must|Should|Comes|Goes|Ends) [^?.]*,", true),
    ("where-as-if", r"(^|[.:;] )Where [^?]*,", true),
    ("that-is-to", r"(?i)\b(that|which|who) (is|are|was|were) to [a-z]+", false),
    ("so-that-none", r"\b(so that|such that) (nothing|nobody|none)\b|\bnot (until|before) [a-z ]+ (does|do|is|are)\b", false),
    // Words that are rare in technical English.
    (
        "rare",
        r"(?i)\b(for ever|anew|in its stead|in its place|but for|whereof|thereof|therein|hitherto|besides|meanwhile|forthwith|hence|beforehand|so long as|else nothing|in earnest|by and by|as it were|nothing else|at its end|at their end|there is none|there was none|there are none|if there is one|where there is|where there are|with none|without one|of late|ought|shall|(is|are) lent|lent to)\b",
        false,
    ),
];

/// Phrases that contain a pattern and are plain English.
static PLAIN: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"(?i)\b(what if|what happens|what X does|(go|goes|went|going) on to [a-z]+|sees? to it that|do not|does not|did not|must not|can not)\b",
    )
});

/// Code, placeholders, targets of links and quotations: words that the sentence shows without using
/// them.
static SHOWN: LazyLock<Regex> = LazyLock::new(|| compile(r#"``[^`]*``|`[^`]*`|\{[^{}]*\}|"[^"]*"|“[^”]*”|\]\([^)]*\)"#));

/// Every pattern, compiled once.
pub(super) static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    TABLE
        .iter()
        .map(|(name, expression, questions_allowed)| Pattern { name, regex: compile(expression), questions_allowed: *questions_allowed })
        .collect()
});

fn compile(expression: &str) -> Regex {
    RegexBuilder::new(expression).build().expect("the tests compile every expression")
}

/// Returns the sentences of `text` that match a pattern, each with the names of its patterns.
pub(super) fn hits(text: &str) -> Vec<(String, Vec<&'static str>)> {
    let shown = SHOWN.replace_all(text, "X");
    sentences(&shown)
        .into_iter()
        .filter_map(|sentence| {
            let plain = PLAIN.replace_all(&sentence, "-");
            let question = plain.contains('?');
            let names: Vec<&str> = PATTERNS
                .iter()
                .filter(|pattern| !(pattern.questions_allowed && question) && pattern.regex.is_match(&plain))
                .map(|pattern| pattern.name)
                .collect();
            (!names.is_empty()).then_some((sentence, names))
        })
        .collect()
}

/// Splits a text after `.`, `!` and `?` that a space and a capital (or markup) follow.
fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut sentence = String::new();
    let mut chars = text.chars().filter(|c| !matches!(c, '*' | '_')).peekable();
    while let Some(c) = chars.next() {
        sentence.push(c);
        let starts_sentence = |next: char| next.is_uppercase() || matches!(next, '[' | '(');
        if matches!(c, '.' | '!' | '?') && chars.peek() == Some(&' ') && chars.clone().nth(1).is_some_and(starts_sentence) {
            found.push(std::mem::take(&mut sentence));
        }
    }
    found.push(sentence);
    found.into_iter().map(|sentence| sentence.trim().to_owned()).filter(|sentence| !sentence.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sentences that readers stumbled over, each with the name of one pattern that must match.
    const STUMBLES: &[(&str, &str)] = &[
        ("Whoever follows slowly still sees each line once", "nobody"),
        ("The home is locked, and nobody reads the file any more.", "nobody"),
        ("It is killed like one that does not answer.", "one-that"),
        ("The process has none of its own.", "one-that"),
        ("What exceeds it soon again is asked to end at once; its next start waits.", "what-is"),
        ("Done: Who was logged in is out", "what-is"),
        ("The file differs from what was read.", "what-clause"),
        ("One entry that is wrong is said by the program.", "told"),
        ("The channel is told of its end.", "told"),
        ("The kernel tells the daemon.", "tells"),
        ("A longer message says nothing", "tells"),
        ("The keeper looks at it every second.", "looks-at"),
        ("The start goes on without it.", "goes-on"),
        ("The former version comes back.", "goes-on"),
        ("The rule stands in the file.", "stands"),
        ("The socket lies in the home.", "lies"),
        ("A reload is under way.", "under-way"),
        ("The instance gets well.", "under-way"),
        ("Is it replaced then, the new one has to listen.", "inverted"),
        ("Does it fail, they are left as they are.", "inverted"),
        ("Where it cannot be read, the former value counts.", "where-as-if"),
        ("The file that is to be removed.", "that-is-to"),
        ("The lock is held so that nobody else writes.", "so-that-none"),
        ("The daemon begins anew, and the app goes on meanwhile.", "rare"),
        ("No request failed, but for the last.", "rare"),
    ];

    /// Plain sentences, which no pattern may match.
    const PLAIN_SENTENCES: &[&str] = &[
        "Returns the sockets that a new worker inherits.",
        "Poll set of the event loop.",
        "If a worker is replaced at that moment, the new worker inherits its sockets.",
        "Use `nobody` as the user, and `goes on` as the text.",
        "What if the daemon dies?",
        "What happens if a start is late: `accept` or `fail`",
        "{host} rejects the mail: {said}",
        "Who may use it?",
        "The client waits until the daemon answers or 5 s have passed.",
        "Does the app handle SIGTERM?",
        "Do not start the daemon as root.",
        "The keeper then goes on to restart the daemon.",
        "The instance that stopped last is started first.",
        "ostler reports any requests that it had to cut off.",
        "The log reads \"the disk is told\", which is a quotation.",
        "See [the page](what-is-told.md) for details.",
    ];

    #[test]
    fn patterns_match_sentences_that_readers_stumble_over() {
        for (sentence, name) in STUMBLES {
            let found = hits(sentence);
            assert!(found.iter().any(|(_, names)| names.contains(name)), "{sentence:?} does not match `{name}` but {found:?}");
        }
    }

    #[test]
    fn each_pattern_has_a_sentence() {
        for (name, ..) in TABLE {
            assert!(STUMBLES.iter().any(|(_, tested)| tested == name), "`{name}` has no sentence that it must match");
        }
    }

    #[test]
    fn patterns_ignore_plain_sentences() {
        for sentence in PLAIN_SENTENCES {
            assert_eq!(hits(sentence), [], "{sentence:?}");
        }
    }

    #[test]
    fn sentences_are_counted_one_by_one() {
        let found = hits("The daemon starts. Nobody waits. It goes on. Version 1.2 is plain.");
        let texts: Vec<&str> = found.iter().map(|(sentence, _)| sentence.as_str()).collect();
        assert_eq!(texts, ["Nobody waits.", "It goes on."]);
    }
}
