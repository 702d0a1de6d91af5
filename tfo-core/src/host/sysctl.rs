//! The settings under `/proc/sys/net`.
//!
//! Each function reads the calling thread's network namespace.
//!
//! ```
//! use tfo_core::host::sysctl;
//!
//! # fn main() -> tfo_core::Result<()> {
//! let allowed = sysctl::tcp_fastopen()?;
//! println!("{allowed}; as a client: {}, as a server: {}", allowed.client(), allowed.server());
//! # Ok(())
//! # }
//! ```
//!
//! # References
//! - [`ip-sysctl`](https://docs.kernel.org/networking/ip-sysctl.html)

use std::time::Duration;
use std::{fmt, fs, str};

use crate::cookie::FastOpenKey;
use crate::{Error, Result};

const TCP_FASTOPEN_KEY: &str = "/proc/sys/net/ipv4/tcp_fastopen_key";
const TCP_FASTOPEN: &str = "/proc/sys/net/ipv4/tcp_fastopen";
const BLACKHOLE_TIMEOUT: &str = "/proc/sys/net/ipv4/tcp_fastopen_blackhole_timeout_sec";
const TCP_TIMESTAMPS: &str = "/proc/sys/net/ipv4/tcp_timestamps";
const TCP_ECN: &str = "/proc/sys/net/ipv4/tcp_ecn";
const SYNCOOKIES: &str = "/proc/sys/net/ipv4/tcp_syncookies";
const MAX_SYN_BACKLOG: &str = "/proc/sys/net/ipv4/tcp_max_syn_backlog";
const UNPRIVILEGED_PORT_START: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

/// `net.ipv4.tcp_fastopen`: the halves of fast open that this network namespace allows, for IPv4 and IPv6.
///
/// `Display` gives the number and its meaning, such as `0x3 (client, server)`. `FromStr` parses the kernel's
/// decimal number, also a negative one, and hexadecimal after `0x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct FastOpenFlags(u32);

impl FastOpenFlags {
    const CLIENT: u32 = 0x1;
    const SERVER: u32 = 0x2;
    const CLIENT_NO_COOKIE: u32 = 0x4;
    const SERVER_NO_COOKIE: u32 = 0x200;
    const ALL_LISTENERS: u32 = 0x400;
    const NAMES: [(u32, &'static str); 5] = [
        (Self::CLIENT, "client"),
        (Self::SERVER, "server"),
        (Self::CLIENT_NO_COOKIE, "client without cookie"),
        (Self::SERVER_NO_COOKIE, "server without cookie"),
        (Self::ALL_LISTENERS, "all listeners"),
    ];

    /// Creates the flags of this number.
    #[must_use]
    pub const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the number, as in the setting.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns whether this host may use fast open as a client (0x1).
    #[must_use]
    pub const fn client(self) -> bool {
        self.0 & Self::CLIENT != 0
    }

    /// Returns whether this host may use fast open as a server (0x2).
    #[must_use]
    pub const fn server(self) -> bool {
        self.0 & Self::SERVER != 0
    }

    /// 0x4: clients put data into the SYN without a cookie.
    #[must_use]
    pub(crate) const fn client_no_cookie(self) -> bool {
        self.0 & Self::CLIENT_NO_COOKIE != 0
    }

    /// 0x200: servers accept data without a cookie, and never grant one.
    #[must_use]
    pub(crate) const fn server_no_cookie(self) -> bool {
        self.0 & Self::SERVER_NO_COOKIE != 0
    }

    /// 0x400: every listener has fast open without asking; only together with 0x2, and only at `listen`.
    #[must_use]
    pub(crate) const fn all_listeners(self) -> bool {
        self.0 & Self::ALL_LISTENERS != 0
    }

    /// Returns the value to recommend where a half of fast open is off or works without cookies: both halves on, with
    /// cookies. The bit 0x400 is kept.
    ///
    /// There is one value for both halves, so that the advice for a client and for a server on the same host never
    /// undo each other. A number with bits that the kernel does not use, such as -1, was not composed of bits: the
    /// result is 0x3.
    #[must_use]
    pub const fn recommended(self) -> Self {
        let both = Self::CLIENT | Self::SERVER;
        Self(if self.unknown() == 0 { both | self.0 & Self::ALL_LISTENERS } else { both })
    }

    /// Returns the set bits that the kernel does not use.
    const fn unknown(self) -> u32 {
        self.0
            & !(Self::CLIENT
                | Self::SERVER
                | Self::CLIENT_NO_COOKIE
                | Self::SERVER_NO_COOKIE
                | Self::ALL_LISTENERS)
    }

    /// Returns the names of the set bits that the kernel uses.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| name)
    }
}

impl fmt::Display for FastOpenFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} (", self.0)?;
        let mut separator = "";
        for name in self.names() {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        let unknown = self.unknown();
        match (self.0, unknown) {
            (0, _) => f.write_str("off)"),
            (_, 0) => f.write_str(")"),
            _ => write!(f, "{separator}unknown {unknown:#x})"),
        }
    }
}

impl str::FromStr for FastOpenFlags {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim_ascii();
        let bits = match text.strip_prefix("0x") {
            // `from_str_radix` accepts a sign here.
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                u32::from_str_radix(digits, 16).ok()
            }
            Some(_) => None,
            // The kernel takes and prints a signed integer.
            None => text.parse().ok().or_else(|| text.parse().ok().map(i32::cast_unsigned)),
        };
        bits.map(Self).ok_or_else(|| {
            Error::malformed(
                "net.ipv4.tcp_fastopen",
                format!("a 32-bit number is wanted, decimal or after 0x, not {text:?}"),
            )
        })
    }
}

/// Reads `net.ipv4.tcp_fastopen`, which applies to IPv4 and IPv6.
///
/// # Errors
/// [`Error::System`] if it cannot be read, [`Error::Malformed`] if it is not a number.
pub fn tcp_fastopen() -> Result<FastOpenFlags> {
    read(TCP_FASTOPEN)?.parse()
}

/// Sets `net.ipv4.tcp_fastopen` of the calling thread's network namespace. Meant for namespaces that this program
/// created.
///
/// # Errors
/// [`Error::System`] if it cannot be written.
#[cfg(feature = "lab")]
pub fn set_tcp_fastopen(bits: FastOpenFlags) -> Result<()> {
    let text = bits.bits().cast_signed().to_string();
    fs::write(TCP_FASTOPEN, text).map_err(|e| Error::system("write", TCP_FASTOPEN, e))
}

/// Reads `net.ipv4.tcp_fastopen_key`: the primary and, if set, the backup key of this network namespace's listeners
/// that have no keys of their own. `None`: there is no key yet; the kernel creates a random one for the first such
/// listener.
///
/// # Errors
/// [`Error::System`], with the kind `PermissionDenied` for all but root of the namespace; [`Error::Malformed`] if
/// these are not keys.
pub fn tcp_fastopen_key() -> Result<Option<(FastOpenKey, Option<FastOpenKey>)>> {
    parse_keys(&read(TCP_FASTOPEN_KEY)?)
}

fn parse_keys(text: &str) -> Result<Option<(FastOpenKey, Option<FastOpenKey>)>> {
    let (primary, backup) = FastOpenKey::pair_from_sysctl_text(text)?;
    // Zeros that were written look the same.
    Ok(if primary.is_zero() && backup.is_none() { None } else { Some((primary, backup)) })
}

/// Whether `net.ipv4.tcp_fastopen_key` holds a key. The key itself is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum NamespaceKey {
    /// All zeros: there is no key yet, and the kernel creates one for the first listener with fast open; or zeros
    /// were written.
    Zeros,
    /// One key.
    Set,
    /// A key, and another one that is accepted as well.
    SetWithBackup,
    /// Only root may read it.
    NotReadable,
}

impl NamespaceKey {
    fn of(keys: Option<&(FastOpenKey, Option<FastOpenKey>)>) -> Self {
        match keys {
            None => Self::Zeros,
            Some((_, None)) => Self::Set,
            Some((_, Some(_))) => Self::SetWithBackup,
        }
    }
}

/// Reads whether `net.ipv4.tcp_fastopen_key` holds a key. Listeners with keys of their own are not covered; only
/// their process can ask for those.
///
/// # Errors
/// As [`tcp_fastopen_key`], except for `PermissionDenied`.
#[doc(alias = "tcp_fastopen_key")]
pub fn fastopen_key() -> Result<NamespaceKey> {
    match tcp_fastopen_key() {
        Ok(keys) => Ok(NamespaceKey::of(keys.as_ref())),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(NamespaceKey::NotReadable),
        Err(e) => Err(e),
    }
}

/// Reads `net.ipv4.tcp_fastopen_blackhole_timeout_sec`: the first pause of outgoing fast open after a suspected
/// blackhole; zero: detection is off.
///
/// # Errors
/// [`Error::System`] if it cannot be read, [`Error::Malformed`] if it is not a number.
pub fn blackhole_timeout() -> Result<Duration> {
    Ok(Duration::from_secs(number::<u32>(BLACKHOLE_TIMEOUT)?.into()))
}

/// Reads `net.core.somaxconn`: the upper bound of a listener's backlog and fast open queue.
///
/// # Errors
/// [`Error::System`] if it cannot be read, [`Error::Malformed`] if it is not a number.
pub fn somaxconn() -> Result<u32> {
    number(SOMAXCONN)
}

/// Reads `net.ipv4.tcp_syncookies`: 0 never, 1 when the SYN queue is full, 2 always. A SYN that is answered with a
/// SYN cookie cannot use fast open.
///
/// # Errors
/// [`Error::System`] if it cannot be read, [`Error::Malformed`] if it is not a number.
pub fn syncookies() -> Result<u32> {
    number(SYNCOOKIES)
}

/// `net.ipv4.tcp_timestamps`: 0 off, 1 with an offset of its own for each connection, 2 without.
///
/// # Errors
/// [`Error::System`] if it can't be read, [`Error::Malformed`] if it is no number.
pub(crate) fn tcp_timestamps() -> Result<u32> {
    number(TCP_TIMESTAMPS)
}

/// `net.ipv4.tcp_ecn`: with 1 the first SYN of a connection asks for ECN.
///
/// # Errors
/// [`Error::System`] if it can't be read, [`Error::Malformed`] if it is no number.
pub(crate) fn tcp_ecn() -> Result<u32> {
    number(TCP_ECN)
}

/// Reads `net.ipv4.tcp_max_syn_backlog`: how many handshakes may be unfinished.
///
/// # Errors
/// [`Error::System`] if it cannot be read, [`Error::Malformed`] if it is not a number.
pub fn max_syn_backlog() -> Result<u32> {
    number(MAX_SYN_BACKLOG)
}

/// Reads `net.ipv4.ip_unprivileged_port_start`: the first port that any user may bind.
///
/// # Errors
/// [`Error::System`] if it cannot be read, [`Error::Malformed`] if it is not a number.
pub fn unprivileged_port_start() -> Result<u32> {
    number(UNPRIVILEGED_PORT_START)
}

fn read(path: &'static str) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Error::system("read", path, e))
}

fn number<T: str::FromStr>(path: &'static str) -> Result<T> {
    parse_number(path, &read(path)?)
}

fn parse_number<T: str::FromStr>(path: &'static str, text: &str) -> Result<T> {
    let text = text.trim_ascii();
    text.parse().map_err(|_| Error::malformed(path, format!("{text:?} is not in range")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bits_are_named() {
        for (bits, text) in [
            (0, "0x0 (off)"),
            (0x3, "0x3 (client, server)"),
            (0x603, "0x603 (client, server, server without cookie, all listeners)"),
            (0x5, "0x5 (client, client without cookie)"),
            (0x1002, "0x1002 (server, unknown 0x1000)"),
            (0x8, "0x8 (unknown 0x8)"),
        ] {
            assert_eq!(FastOpenFlags::new(bits).to_string(), text);
        }
    }

    #[test]
    fn the_kernels_numbers_are_read() {
        for (text, bits) in [
            ("1\n", 1),
            ("1537\n", 0x601),
            ("0x601", 0x601),
            ("-1\n", u32::MAX),
            ("-2147483648", 0x8000_0000),
            ("4294967295", u32::MAX),
        ] {
            let read: FastOpenFlags = text.parse().expect(text);
            assert_eq!(read.bits(), bits, "{text:?}");
        }
        for text in ["", "x", "0x", "0x+1", "0x1ffffffff", "1 2", "-2147483649", "4294967296"] {
            text.parse::<FastOpenFlags>().expect_err(text);
        }
    }

    #[test]
    fn recommended_value_has_both_halves_with_cookies() {
        for (bits, recommended) in [
            (0, 3),
            (1, 3),
            (2, 3),
            (5, 3),
            (7, 3),
            (0x207, 3),
            (0x402, 0x403),
            (0x607, 0x403),
            (u32::MAX, 3),
            (0x1001, 3),
        ] {
            assert_eq!(FastOpenFlags::new(bits).recommended().bits(), recommended, "{bits:#x}");
        }
    }

    #[test]
    fn namespace_key_is_reported_only_as_present() {
        let [zeros, key] = ["00000000", "0000000a"].map(|word| [word; 4].join("-"));
        for (text, found) in [
            (format!("{zeros}\n"), NamespaceKey::Zeros),
            (format!("{key}\n"), NamespaceKey::Set),
            (format!("{key},{zeros}\n"), NamespaceKey::SetWithBackup),
        ] {
            let keys = parse_keys(&text).expect("the kernel's form");
            assert_eq!(NamespaceKey::of(keys.as_ref()), found, "{text}");
        }
        for text in
            ["", "5ec12e7", "zzzzzzzz-5ec12e7a-00000000-00000000", &format!("{key},5ec12e7")]
        {
            let error = parse_keys(text).expect_err(text).to_string();
            assert!(!error.contains("5ec12e7"), "an error must not show a key: {error}");
        }
    }

    #[test]
    fn a_bad_number_names_its_file() {
        let error = parse_number::<u32>(SOMAXCONN, "-5\n").expect_err("it can't be negative");
        assert!(error.to_string().contains("core/somaxconn"), "{error}");
        assert_eq!(parse_number::<u32>(SOMAXCONN, "4096\n").expect("a number"), 4096);
    }

    #[test]
    fn this_hosts_settings_can_be_read() {
        tcp_fastopen().expect("since Linux 3.6");
        blackhole_timeout().expect("since Linux 4.12");
        assert!(somaxconn().expect("since Linux 2.4") > 0);
        assert!(syncookies().expect("since Linux 2.0") <= 2);
        assert!(unprivileged_port_start().expect("since Linux 4.11") <= 65_536);
        assert!(max_syn_backlog().expect("since Linux 2.2") > 0);
        let error = read("/proc/sys/net/ipv4/no_such_setting").expect_err("it does not exist");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert!(error.to_string().contains("no_such_setting"), "{error} names the file");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*", number in "-?(0x)?[0-9a-f]{0,12}\n?") {
            for text in [text, number] {
                if let Ok(bits) = text.parse::<FastOpenFlags>() {
                    prop_assert!(!bits.to_string().is_empty());
                }
                let _ = parse_number::<u32>(SOMAXCONN, &text);
            }
        }

        #[test]
        fn bits_survive_the_kernels_text(bits: u32) {
            for text in [bits.cast_signed().to_string(), bits.to_string(), format!("{bits:#x}")] {
                prop_assert_eq!(text.parse::<FastOpenFlags>().expect("a number").bits(), bits);
            }
        }
    }
}
