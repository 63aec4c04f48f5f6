//! Formatting of errors with their causes.

use std::error::Error;

/// Returns an error with all its causes, in one line. A cause that already ends the text is not
/// repeated.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failed {
        text: &'static str,
        #[source]
        cause: Option<Box<Failed>>,
    }

    #[test]
    fn each_cause_is_printed_once() {
        let kernel = Failed { text: "no space left", cause: None };
        let write = Failed { text: "cannot write: no space left", cause: Some(Box::new(kernel)) };
        let save = Failed { text: "cannot save", cause: Some(Box::new(write)) };
        assert_eq!(with_causes(&save), "cannot save: cannot write: no space left");
    }
}
