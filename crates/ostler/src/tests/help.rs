//! Help texts, which are ASCII, so that every terminal shows them.

use super::{WIDTHS, assert_fits, golden};
use crate::cli;

#[test]
fn full_help_fits_and_matches_golden_files() {
    for program in ["ostler", "pm2"] {
        assert!(cli::full_help(program, None).is_ascii());
    }
    for width in WIDTHS {
        let text = cli::full_help("ostler", Some(width));
        assert_fits(&text, width);
        golden(&format!("help-{width}"), &text);
    }
    golden("help-no-terminal", &cli::full_help("ostler", None));
}

#[test]
fn command_help_fits_and_matches_golden_files() {
    for name in ["start", "list", "ping", "serve"] {
        let command = cli::find(name).unwrap();
        for width in WIDTHS {
            let text = cli::command_help("ostler", command, Some(width));
            assert_fits(&text, width);
            golden(&format!("help-{name}-{width}"), &text);
        }
    }
}

#[test]
fn help_of_each_command_fits_and_is_ascii() {
    for command in cli::COMMANDS {
        for width in WIDTHS {
            let text = cli::command_help("ostler", command, Some(width));
            assert!(text.is_ascii(), "{text}");
            assert_fits(&text, width);
        }
    }
}

#[test]
fn short_help_fits_and_matches_golden_file() {
    let text = cli::short_help("ostler");
    assert_fits(&text, 80);
    golden("help-short", &text);
    golden("examples", &cli::examples("ostler"));
    for width in WIDTHS {
        let text = cli::usual_help("ostler", Some(width));
        assert!(text.is_ascii(), "{text}");
        assert_fits(&text, width);
        golden(&format!("help-common-{width}"), &text);
    }
}
