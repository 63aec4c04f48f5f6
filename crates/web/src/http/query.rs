//! Query strings and percent-encoding. Pure.

/// Maximum length of a value.
const LONGEST: usize = 4096;

/// Returns the value of a key; none if it is missing or invalid.
pub(crate) fn value(query: Option<&str>, key: &str) -> Option<String> {
    values(query, key).next()
}

/// Returns the values of a key that is given several times, without invalid ones.
pub(crate) fn values(query: Option<&str>, key: &str) -> impl Iterator<Item = String> {
    let pairs = query.into_iter().flat_map(|query| query.split('&')).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let given = pairs.filter(move |(name, _)| *name == key);
    given.filter_map(|(_, value)| decoded(&value.replace('+', "%20"))).filter(|value| value.len() <= LONGEST)
}

/// Returns a number up to a maximum.
pub(crate) fn number(query: Option<&str>, key: &str, usual: u64, most: u64) -> u64 {
    value(query, key).and_then(|text| text.parse().ok()).unwrap_or(usual).min(most)
}

/// Decodes percent-encoding; none if the result is not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_decoded() {
        let query = Some("app=a%26b&lines=20&x&app=other&plus=a+b");
        assert_eq!(value(query, "app").as_deref(), Some("a&b"));
        assert_eq!(value(query, "x").as_deref(), Some(""));
        assert_eq!(value(query, "plus").as_deref(), Some("a b"));
        assert_eq!((value(query, "nothing"), value(None, "app"), value(Some("a=%zz"), "a")), (None, None, None));
        assert_eq!((number(query, "lines", 5, 10), number(query, "none", 5, 10), number(Some("lines=-1"), "lines", 5, 10)), (10, 5, 5));
        assert_eq!(values(query, "app").collect::<Vec<_>>(), ["a&b", "other"]);
        assert_eq!(value(Some(&format!("a={}", "x".repeat(5000))), "a"), None);
    }

    proptest::proptest! {
        #[test]
        fn decoded_never_panics_on_any_text(text in ".{0,40}") {
            let _ = decoded(&text);
        }
    }
}
