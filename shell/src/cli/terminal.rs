//! Text of others on a terminal: whatever could move the cursor, hide or reorder text is made
//! visible.

use std::fmt::Write as _;

/// `text` on one line: control characters, escapes and invisible or reordering characters are
/// written as `\u{…}`.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_treacherous(c) {
            // Writing to a string does not fail.
            let _ok = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `text` over as many lines as it has, each but the first behind `margin`, so that no line of
/// it can pass for a line of ours.
pub(super) fn block(text: &str, margin: &str) -> String {
    let lines: Vec<_> = text
        .trim_end_matches('\n')
        .split('\n')
        .map(visible)
        .collect();
    lines.join(&format!("\n{margin}"))
}

/// Whether a terminal or a reader could be fooled by it.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_fool_a_reader_is_visible() {
        assert_eq!(visible("a\u{1b}[31mred\u{7}"), "a\\u{1b}[31mred\\u{7}");
        assert_eq!(visible("a\r\n\tb\u{9b}"), "a\\r\\n\\tb\\u{9b}");
        assert_eq!(
            visible("\u{202e}gnp.exe\u{2066}\u{200b}"),
            "\\u{202e}gnp.exe\\u{2066}\\u{200b}"
        );
        assert_eq!(visible("é 😀 日本"), "é 😀 日本");
    }

    #[test]
    fn no_line_of_a_block_starts_at_the_margin() {
        assert_eq!(block("one\nuds-9 fake\n", "  | "), "one\n  | uds-9 fake");
        assert_eq!(block("a\rb", "  | "), "a\\rb");
    }
}
