//! Paragraphs, list items, headings and table cells of a Markdown page.

/// Reads the prose of `page`: everything except code blocks and HTML comments. Each text comes with the number of its first line.
pub(super) fn texts(page: &str) -> Vec<(usize, String)> {
    let mut texts = Vec::new();
    let mut paragraph: Option<(usize, String)> = None;
    let mut in_code = false;
    let mut in_html_comment = false;
    for (number, line) in page.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        let fence = line.starts_with("```") || line.starts_with("~~~");
        in_html_comment |= line.starts_with("<!--");
        if in_code || fence || in_html_comment {
            texts.extend(paragraph.take());
            in_code ^= fence;
            in_html_comment &= !line.ends_with("-->");
            continue;
        }
        if let Some(row) = line.strip_prefix('|') {
            texts.extend(paragraph.take());
            texts.extend(row.split('|').map(|cell| (number, cell.trim().to_owned())).filter(|(_, cell)| cell.contains(' ')));
            continue;
        }
        let item = item(line);
        if line.is_empty() || item.is_some() {
            texts.extend(paragraph.take());
        }
        let words = item.unwrap_or(line);
        if !words.is_empty() {
            let (_, text) = paragraph.get_or_insert((number, String::new()));
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(words);
        }
    }
    texts.extend(paragraph);
    texts
}

/// Returns the words of a line that begins a heading, a list item or a quotation.
fn item(line: &str) -> Option<&str> {
    let marker = line.trim_start_matches(['#', '>', '-', '*', '+']);
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    if marker.len() < line.len() && marker.starts_with(' ') {
        Some(marker.trim_start())
    } else if numbered.len() < line.len() && numbered.starts_with(". ") {
        Some(numbered[2..].trim_start())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_read_without_code() {
        let page = "# A heading\n\nOne\nparagraph.\n- an item\n  of two lines\n2. second item\n```sh\nnobody\n```\n<!-- a\ncomment -->\n| a cell | x |\n|---|---|\nlast";
        let texts: Vec<(usize, String)> = texts(page);
        let expected =
            [(1, "A heading"), (3, "One paragraph."), (5, "an item of two lines"), (7, "second item"), (13, "a cell"), (15, "last")];
        assert_eq!(texts, expected.map(|(line, text)| (line, text.to_owned())));
    }
}
