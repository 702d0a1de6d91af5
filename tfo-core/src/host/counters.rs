//! `/proc/net/netstat`: the counters of TCP Fast Open in this namespace.

use std::fs;

use crate::{Error, Result};

/// Follows the calling thread into its network namespace; `/proc/net` shows that of the main thread.
const PATH: &str = "/proc/thread-self/net/netstat";
const PREFIX: &str = "TcpExt:";

/// Defines [`Counters`] and [`CounterChange`] from one table, so that each name is written once.
macro_rules! counters {
    ($( $(#[$doc:meta])* $field:ident = $name:literal: $meaning:literal, )*) => {
        /// The counters of TCP Fast Open since the namespace was created.
        ///
        /// ```no_run
        /// # fn main() -> tfo_core::Result<()> {
        /// use tfo_core::host::Counters;
        ///
        /// let before = Counters::read()?;
        /// // … connections …
        /// let change = Counters::read()?.since(&before);
        /// println!("SYNs with data that were acknowledged: {}", change.active);
        /// # Ok(())
        /// # }
        /// ```
        ///
        /// They count all connections of the namespace, not only those of this program. A counter that this kernel
        /// lacks reads 0.
        ///
        /// # References
        /// - [`net/ipv4/proc.c`](https://github.com/torvalds/linux/blob/v6.12/net/ipv4/proc.c)
        #[doc(alias = "netstat")]
        #[doc(alias = "nstat")]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[non_exhaustive]
        pub struct Counters {
            $( $(#[$doc])* #[doc(alias = $name)] pub $field: u64, )*
        }

        /// The change of the counters.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "serde", serde(default))]
        #[non_exhaustive]
        pub struct CounterChange {
            $( $(#[$doc])* pub $field: u64, )*
        }

        impl Counters {
            /// Returns the counter with the kernel's name, if it is one of these.
            fn by_name(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $( $name => Some(&mut self.$field), )*
                    _ => None,
                }
            }

            /// Returns what the counter with the kernel's name counts, in at most 41 characters; empty if it is not one of
            /// these.
            #[must_use]
            pub fn meaning(name: &str) -> &'static str {
                match name {
                    $( $name => $meaning, )*
                    _ => "",
                }
            }

            /// Returns the change since `earlier`. Handles counters that wrapped around. The counters of another
            /// namespace give nonsense.
            #[must_use]
            pub const fn since(&self, earlier: &Self) -> CounterChange {
                CounterChange { $( $field: self.$field.wrapping_sub(earlier.$field), )* }
            }

            /// Returns all that was counted since the namespace was created.
            #[must_use]
            pub fn total(&self) -> CounterChange {
                self.since(&Self::default())
            }

            /// Returns the kernel's name and the value of each counter, in the order of the documentation.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$( ($name, self.$field), )*].into_iter()
            }
        }

        impl CounterChange {
            /// Returns the kernel's name and the change of each counter, in the order of the documentation.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$( ($name, self.$field), )*].into_iter()
            }
        }
    };
}

counters! {
    /// `TCPFastOpenActive`: outgoing connections whose SYN data was acknowledged.
    active = "TCPFastOpenActive":
        "outgoing, SYN data accepted",
    /// `TCPFastOpenActiveFail`: outgoing connections whose SYN data was not acknowledged.
    active_fail = "TCPFastOpenActiveFail":
        "outgoing, SYN data not accepted",
    /// `TCPFastOpenPassive`: connections created by a valid fast open SYN, also by one without data.
    passive = "TCPFastOpenPassive":
        "incoming, valid SYN, with or without data",
    /// `TCPFastOpenPassiveFail`: SYNs with an invalid cookie.
    passive_fail = "TCPFastOpenPassiveFail":
        "incoming, SYN with an invalid cookie",
    /// `TCPFastOpenListenOverflow`: SYNs refused because the fast open queue was full.
    listen_overflow = "TCPFastOpenListenOverflow":
        "incoming, refused: fast open queue full",
    /// `TCPFastOpenCookieReqd`: cookie requests, counted even if no cookie is granted.
    cookie_reqd = "TCPFastOpenCookieReqd":
        "incoming, cookie request, granted or not",
    /// `TCPFastOpenBlackhole`: how often outgoing fast open was paused.
    blackhole = "TCPFastOpenBlackhole":
        "outgoing fast open paused: blackhole",
    /// `TCPFastOpenPassiveAltKey`: cookies of the backup key that were accepted.
    passive_alt_key = "TCPFastOpenPassiveAltKey":
        "incoming, cookie of the backup key",
    /// `TCPSynRetrans`: retransmitted SYNs and SYN-ACKs.
    syn_retrans = "TCPSynRetrans":
        "SYN or SYN-ACK sent again",
    /// `ListenOverflows`: SYNs and ACKs dropped because the accept queue of their listener was full.
    accept_overflows = "ListenOverflows":
        "incoming, lost: accept queue full",
    /// `ListenDrops`: SYNs and ACKs dropped by listeners for any reason.
    listen_drops = "ListenDrops":
        "incoming, dropped by a listener",
    /// `SyncookiesSent`: SYNs answered with a SYN cookie. Such a connection never uses fast open.
    syncookies_sent = "SyncookiesSent":
        "SYN cookie sent: SYN queue full",
}

impl Counters {
    /// Reads the counters of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::System`] if the file can't be read, [`Error::Malformed`] as for
    /// [`parse`](Self::parse).
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string(PATH).map_err(|e| Error::system("read", PATH, e))?;
        Self::parse(&text)
    }

    /// Parses the text of `/proc/net/netstat`: pairs of lines, names above values.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is no pair of `TcpExt` lines, if the two do not match, or if one of these
    /// counters is not a number.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(PREFIX));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            return Err(malformed(format!(
                "a line of names and one of values begin with {PREFIX}"
            )));
        };
        let (mut names, mut values) =
            (names.split_ascii_whitespace(), values.split_ascii_whitespace());
        let mut counters = Self::default();
        loop {
            match (names.next(), values.next()) {
                (Some(name), Some(value)) => {
                    if let Some(counter) = counters.by_name(name) {
                        *counter = value
                            .parse()
                            .map_err(|_| malformed(format!("{name} is no number: {value:?}")))?;
                    }
                }
                (None, None) => return Ok(counters),
                _ => return Err(malformed("there are not as many names as values".into())),
            }
        }
    }
}

impl CounterChange {
    /// Returns whether nothing changed.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

fn malformed(reason: String) -> Error {
    Error::malformed(PATH, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Linux 6.18, shortened: three cookies asked for and granted, three connections by fast open.
    const TEXT: &str = "\
TcpExt: SyncookiesSent TCPSYNChallenge TCPFastOpenActive TCPFastOpenActiveFail TCPFastOpenPassive \
TCPFastOpenPassiveFail TCPFastOpenListenOverflow TCPFastOpenCookieReqd TCPFastOpenBlackhole \
TCPSpuriousRtxHostQueues TCPSynRetrans TCPOrigDataSent TCPFastOpenPassiveAltKey TcpTimeoutRehash
TcpExt: 0 0 3 0 3 0 0 3 0 0 1 24 0 0
IpExt: InNoRoutes InTruncatedPkts
IpExt: 7 8
MPTcpExt: MPCapableSYNRX Blackhole
MPTcpExt: 0 9
";

    #[test]
    fn the_counters_are_found_by_name() {
        let counters = Counters::parse(TEXT).expect("captured from Linux");
        let expected = Counters {
            active: 3,
            passive: 3,
            cookie_reqd: 3,
            syn_retrans: 1,
            ..Counters::default()
        };
        assert_eq!(counters, expected, "MPTCP has a Blackhole of its own");
        assert_eq!(counters.iter().count(), 12);
        assert_eq!(counters.iter().next(), Some(("TCPFastOpenActive", 3)));
    }

    #[test]
    fn counter_that_an_old_kernel_lacks_is_zero() {
        let counters =
            Counters::parse("TcpExt: TCPFastOpenActive\nTcpExt: 5\n").expect("well-formed");
        assert_eq!(counters, Counters { active: 5, ..Counters::default() });
    }

    #[test]
    fn a_change_is_counted_from_the_earlier_reading() {
        let earlier = Counters { active: 2, passive: u64::MAX, ..Counters::default() };
        let now = Counters { active: 5, passive: 1, ..Counters::default() };
        let change = now.since(&earlier);
        assert_eq!((change.active, change.passive), (3, 2), "a wrapped counter is counted on");
        assert!(!change.is_zero());
        assert!(now.since(&now).is_zero());
        assert_eq!(change.iter().map(|(_, value)| value).sum::<u64>(), 5);
    }

    #[test]
    fn malformed_netstat_is_an_error() {
        for text in [
            "",
            "TcpExt: TCPFastOpenActive\n",
            "TcpExt: TCPFastOpenActive\nTcpExt: 1 2\n",
            "TcpExt: TCPFastOpenActive\nTcpExt: x\n",
            "TcpExt: TCPFastOpenActive\nTcpExt: -1\n",
        ] {
            assert!(matches!(Counters::parse(text), Err(Error::Malformed { .. })), "{text:?}");
        }
    }

    #[test]
    fn this_hosts_counters_can_be_read() {
        let now = Counters::read().expect("procfs is there");
        let later = Counters::read().expect("procfs is there");
        assert!(later.active >= now.active, "counters only rise");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in "\\PC*",
            lines in proptest::collection::vec("(TcpExt:)?( (TCPFastOpenActive|[0-9]{1,25}|-1|\\PC)){0,4}", 0..6),
        ) {
            let _ = Counters::parse(&text);
            let _ = Counters::parse(&lines.join("\n"));
        }

        #[test]
        fn a_cut_file_is_read_or_refused(keep in 0..TEXT.len()) {
            let _ = Counters::parse(&TEXT[..keep]);
        }

        #[test]
        fn what_was_written_is_read_back(values: [u64; 12]) {
            let (mut names, mut numbers) = (PREFIX.to_owned(), PREFIX.to_owned());
            for ((name, _), value) in Counters::default().iter().zip(values) {
                names = format!("{names} {name}");
                numbers = format!("{numbers} {value}");
            }
            let counters = Counters::parse(&format!("{names}\n{numbers}\n")).expect("well-formed");
            prop_assert!(counters.iter().map(|(_, value)| value).eq(values));
        }
    }
}
