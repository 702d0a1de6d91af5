//! DNS queries over TCP (RFC 7766), where each message is preceded by its length.

/// Returns the query for the IPv4 address of a name; `None` if the name is invalid.
pub(super) fn query(name: &str, id: u16) -> Option<Vec<u8>> {
    const RECURSION_DESIRED: u16 = 0x0100;
    const TYPE_A: u16 = 1;
    const CLASS_IN: u16 = 1;

    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 253 {
        return None;
    }
    let mut message = Vec::new();
    // Id, flags, one question, and no records in the other three sections.
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        if !label.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        message.push(u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len))?);
        message.extend(label.bytes());
    }
    message.push(0);
    for word in [TYPE_A, CLASS_IN] {
        message.extend(word.to_be_bytes());
    }
    let length = u16::try_from(message.len()).ok()?;
    Some([&length.to_be_bytes()[..], &message].concat())
}

/// Returns whether these bytes are a complete answer to the query with this id. Fails if they are anything else.
pub(super) fn is_whole(answer: &[u8], id: u16) -> Result<bool, String> {
    const RESPONSE: u8 = 0x80;

    if let Some(found) = answer.get(2..4)
        && found != id.to_be_bytes()
    {
        return Err("the server's message does not answer the DNS query: its id differs".to_owned());
    }
    if answer.get(4).is_some_and(|flags| flags & RESPONSE == 0) {
        return Err("the server is not a DNS server: it sent a query back".to_owned());
    }
    let length = answer.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)));
    Ok(length.is_some_and(|length| length >= 12 && answer.len() >= 2 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_encoded_as_in_the_rfc() {
        let query = query("a.example", 0x1234).unwrap();
        let expected = b"\x00\x1b\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\
                         \x01a\x07example\x00\x00\x01\x00\x01";
        assert_eq!(query, expected);
        assert_eq!(super::query("a.example.", 0x1234), Some(query), "the name may end with a dot");
    }

    #[test]
    fn query_for_an_invalid_name_is_refused() {
        let long = "a".repeat(64);
        let longer = vec!["abcdefg"; 40].join(".");
        for name in ["", ".", "a..b", ".a", "a b", "ä.example", &long, &longer] {
            assert_eq!(query(name, 1), None, "{name}");
        }
    }

    #[test]
    fn answer_is_complete_once_its_full_length_has_arrived() {
        let mut answer = query("a.example", 7).unwrap();
        assert!(is_whole(&answer, 7).unwrap_err().contains("query back"));
        answer[4] |= 0x80;
        for len in 0..answer.len() {
            assert_eq!(is_whole(&answer[..len], 7), Ok(false), "{len}");
        }
        assert_eq!(is_whole(&answer, 7), Ok(true));
        assert!(is_whole(&answer, 8).is_err(), "the answer to another query");
    }
}
