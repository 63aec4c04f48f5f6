//! Keys and their effects, as a line at the bottom and as a frame over everything else.

use ostler_core::message;
use ostler_core::text::language::translated;
use unicode_width::UnicodeWidthStr as _;

use super::cells::{Picture, Rect, Tone};

/// Draws keys with a word each. If a word does not fit, it and all later words are left out.
pub(crate) fn key_line(picture: &mut Picture, place: Rect, keys: &[(&str, &'static str)]) {
    let mut x = place.x + 1;
    for &(key, word) in keys {
        let word = translated(word);
        if x + key.width() + word.width() + 1 > place.x + place.width {
            break;
        }
        x += picture.put(x, place.y, place.width, key, Tone::Bold) + 1;
        x += picture.put(x, place.y, place.width, word, Tone::Dim) + 2;
    }
}

/// Draws all keys with their effects in the middle of the screen.
pub(crate) fn key_frame(picture: &mut Picture, rows: &[(&'static str, &'static str)]) {
    let rows: Vec<(&str, &str)> = rows.iter().map(|&(keys, words)| (translated(keys), translated(words))).collect();
    let keys = rows.iter().map(|(keys, _)| keys.width()).max().unwrap_or(0);
    let words = rows.iter().map(|(_, words)| words.width()).max().unwrap_or(0);
    let (width, height) = ((keys + words + 5).min(picture.width), (rows.len() + 2).min(picture.height));
    let place = Rect { x: (picture.width - width) / 2, y: (picture.height - height) / 2, width, height };
    picture.frame(place, &message!("Keys"), Tone::Title);
    let inner = place.inner();
    // Keys and effects are side by side. If there is little room, the keys get less.
    let keys = keys.min(inner.width / 3);
    for ((key, words), y) in rows.iter().zip(inner.y..inner.y + inner.height) {
        picture.put(inner.x, y, keys, key, Tone::Bold);
        picture.put(inner.x + keys + 1, y, inner.width.saturating_sub(keys + 1), words, Tone::Plain);
    }
}
