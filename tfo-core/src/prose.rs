//! Words that depend on numbers.

use std::fmt;

/// Returns a number with the words that fit it: `1 connection was`, `0 connections were`.
pub(crate) fn counted(
    count: impl Copy + fmt::Display + TryInto<u64>,
    one: &str,
    more: &str,
) -> String {
    let is_one = count.try_into().is_ok_and(|count| count == 1);
    format!("{count} {}", if is_one { one } else { more })
}

/// Returns `both connections` for two, otherwise `all 3 connections`.
pub(crate) fn all(count: usize, more: &str) -> String {
    if count == 2 { format!("both {more}") } else { format!("all {count} {more}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_their_number() {
        assert_eq!(counted(0_u64, "key", "keys"), "0 keys");
        assert_eq!(counted(1_usize, "key was", "keys were"), "1 key was");
        assert_eq!(counted(2_u32, "key", "keys"), "2 keys");
        assert_eq!(counted(21_i32, "key", "keys"), "21 keys");
        assert_eq!((all(2, "keys"), all(3, "keys")), ("both keys".into(), "all 3 keys".into()));
    }
}
