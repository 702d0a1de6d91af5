//! Text that must fit into a number of columns.

/// Returns the number of columns, one per character.
pub(super) fn count(text: &str) -> usize {
    text.chars().count()
}

/// Returns whether a character is a control character, takes no column or changes the direction of writing.
pub(super) fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

/// Returns lines of at most `room` columns, broken between words where possible.
pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && count(&line) + 1 + count(word) > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if count(&line) == room {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Returns as few lines as [`wrap`] needs, of about the same length.
pub(super) fn balanced(text: &str, room: usize) -> Vec<String> {
    let lines = wrap(text, room);
    let least = count(text) / lines.len().max(1);
    let narrower = (least..room).map(|room| wrap(text, room));
    narrower.into_iter().find(|narrower| narrower.len() <= lines.len()).unwrap_or(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_between_words_and_within_long_ones() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
        assert_eq!(wrap("", 3), Vec::<String>::new());
        assert_eq!(balanced("one two three four", 16), ["one two", "three four"]);
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_and_no_letter_is_lost(text in ".{0,80}", room in 1..40_usize) {
            let letters = |text: &str| text.split_whitespace().collect::<String>();
            for lines in [wrap(&text, room), balanced(&text, room)] {
                prop_assert!(lines.iter().all(|line| count(line) <= room));
                prop_assert_eq!(letters(&lines.concat()), letters(&text));
            }
        }
    }
}
