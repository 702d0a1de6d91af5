//! Request targets, and the hosts that requests name.
//!
//! # References
//! [RFC 9112, section 3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2) for the four forms of a
//! target, [RFC 3986](https://www.rfc-editor.org/rfc/rfc3986) for their parts.

use std::net::Ipv6Addr;

/// Returns whether a byte may be part of a target.
///
/// The allowed characters are those of a URI. `[` and `]` belong only to addresses, but web clients also send them in
/// queries (`?a[]=1`), where they are not ambiguous.
pub(super) fn is_target_byte(byte: u8) -> bool {
    is_name_byte(byte) || b"%:/?#[]@".contains(&byte)
}

/// Unreserved characters and sub-delimiters.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

/// Returns the path of a target. Returns `None` if the method does not allow the form of the target.
pub(super) fn path<'a>(method: &str, target: &'a str) -> Option<&'a str> {
    match (method, target) {
        ("CONNECT", _) => {
            let (host, port) = target.rsplit_once(':')?;
            let named = !host.is_empty() && port.ends_with(|last: char| last.is_ascii_digit());
            (named && is_authority(target)).then_some(target)
        }
        ("OPTIONS", "*") => Some(target),
        _ if target.starts_with('/') => path_of(target),
        _ => absolute(target),
    }
}

/// Returns the path of `scheme://authority/path?query`.
fn absolute(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let named = !authority.is_empty() && !authority.starts_with(':');
    if named && is_scheme(scheme) && is_authority(authority) { path_of(path) } else { None }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Returns what precedes the query. An absent path is `/`.
fn path_of(text: &str) -> Option<&str> {
    let path = text.split(['?', '#']).next()?;
    are_escapes_valid(text).then_some(if path.is_empty() { "/" } else { path })
}

/// Returns whether `text` is a host, possibly empty, with or without a port.
///
/// A user name is refused: [RFC 9110, section 4.2.4](https://www.rfc-editor.org/rfc/rfc9110#section-4.2.4).
pub(super) fn is_authority(text: &str) -> bool {
    let (is_host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        (is_ipv6(address), port)
    } else {
        let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        (is_name(name), port)
    };
    is_host && is_port(port)
}

/// Returns whether `text` is an IPv6 address. A link-local one may have a zone (RFC 6874), as some clients send it.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once("%25").unwrap_or((text, "0"));
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && is_name(zone)
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| is_name_byte(byte) || byte == b'%') && are_escapes_valid(text)
}

/// Returns whether `text` is empty or a colon with an optional port number.
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else { return text.is_empty() };
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

/// Returns whether two hex digits follow each `%`.
fn are_escapes_valid(text: &str) -> bool {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    text.as_bytes()
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| is_hex(text.as_bytes().get(at + 1)) && is_hex(text.as_bytes().get(at + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_in_an_allowed_form_yields_its_path() {
        for (method, target, expected) in [
            ("GET", "/", "/"),
            ("GET", "/a/b?c=://d/e", "/a/b"),
            ("GET", "//a?b", "//a"),
            ("GET", "/a%20b?c[]=1#d", "/a%20b"),
            ("GET", "http://a", "/"),
            ("HEAD", "HTTP://a:80?x", "/"),
            ("GET", "http://a:/b", "/b"),
            ("GET", "http://a.b-c_d~%41/metrics?x", "/metrics"),
            ("GET", "https://[::1]:8080/b#c", "/b"),
            ("GET", "http://[fe80::1%25eth0]/b", "/b"),
            ("POST", "a+b-c.1://d/e", "/e"),
            ("OPTIONS", "*", "*"),
            ("OPTIONS", "/a", "/a"),
            ("CONNECT", "a:443", "a:443"),
            ("CONNECT", "[::1]:443", "[::1]:443"),
        ] {
            assert_eq!(path(method, target), Some(expected), "{method} {target}");
        }
    }

    #[test]
    fn target_in_another_form_is_refused() {
        for (method, target) in [
            ("GET", "x?y=://z/metrics"),
            ("GET", "a"),
            ("GET", "*"),
            ("POST", "*"),
            ("GET", "?a"),
            ("GET", "http:/a"),
            ("GET", "http://"),
            ("GET", "http:///metrics"),
            ("GET", "http://:80/"),
            ("GET", "://a/metrics"),
            ("GET", "1http://a/metrics"),
            ("GET", "ht/tp://a/metrics"),
            ("GET", "http://user@a/metrics"),
            ("GET", "http://a:b/"),
            ("GET", "http://a:1:2/"),
            ("GET", "http://a:65536/"),
            ("GET", "http://a:+1/"),
            ("GET", "http://[::1/"),
            ("GET", "http://[::1]a/"),
            ("GET", "http://[127.0.0.1]/"),
            ("GET", "http://[::1%25]/"),
            ("GET", "http://a]/"),
            ("GET", "http://a%4/"),
            ("GET", "/%"),
            ("GET", "/?%4"),
            ("GET", "/a%zz"),
            ("GET", "a:443"),
            ("CONNECT", "/"),
            ("CONNECT", "a"),
            ("CONNECT", "a:"),
            ("CONNECT", ":1"),
            ("CONNECT", "[::1]"),
            ("CONNECT", "http://a:1"),
            ("OPTIONS", "**"),
        ] {
            assert_eq!(path(method, target), None, "{method} {target}");
        }
    }
}
