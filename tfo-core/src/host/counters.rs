//! `/proc/net/netstat`: what TCP Fast Open did in this namespace.

use std::fs;

use crate::{Error, Result};

/// Follows the calling thread into its network namespace; `/proc/net` shows the main thread's.
pub(super) const PATH: &str = "/proc/thread-self/net/netstat";
const PREFIX: &str = "TcpExt:";

/// Defines [`Counters`] and [`CounterChange`] from one table, so that each name stands once.
macro_rules! counters {
    ($( $(#[$doc:meta])* $field:ident = $name:literal, )*) => {
        /// The counters of TCP Fast Open, since the namespace was made.
        ///
        /// All connections of the namespace count, not those of this program alone. A counter that
        /// this kernel does not have yet reads 0.
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

        /// How the counters changed.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "serde", serde(default))]
        #[non_exhaustive]
        pub struct CounterChange {
            $( $(#[$doc])* pub $field: u64, )*
        }

        impl Counters {
            /// The counter of the kernel's name, if it is one of these.
            fn by_name(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $( $name => Some(&mut self.$field), )*
                    _ => None,
                }
            }

            /// What changed since `earlier`. A counter that wrapped around is counted on;
            /// counters of another namespace give nonsense.
            #[must_use]
            pub const fn since(&self, earlier: &Self) -> CounterChange {
                CounterChange { $( $field: self.$field.wrapping_sub(earlier.$field), )* }
            }

            /// All that happened since the namespace was made.
            #[must_use]
            pub fn total(&self) -> CounterChange {
                self.since(&Self::default())
            }

            /// The kernel's name and the value of each, in the order of the documentation.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$( ($name, self.$field), )*].into_iter()
            }
        }

        impl CounterChange {
            /// The kernel's name and the change of each, in the order of the documentation.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$( ($name, self.$field), )*].into_iter()
            }
        }
    };
}

counters! {
    /// `TCPFastOpenActive`: outgoing connections whose SYN data was acknowledged.
    active = "TCPFastOpenActive",
    /// `TCPFastOpenActiveFail`: outgoing ones whose SYN data was not.
    active_fail = "TCPFastOpenActiveFail",
    /// `TCPFastOpenPassive`: connections born of a valid fast open SYN, even of an empty one.
    passive = "TCPFastOpenPassive",
    /// `TCPFastOpenPassiveFail`: SYNs with an invalid cookie.
    passive_fail = "TCPFastOpenPassiveFail",
    /// `TCPFastOpenListenOverflow`: SYNs refused because the fast open queue was full.
    listen_overflow = "TCPFastOpenListenOverflow",
    /// `TCPFastOpenCookieReqd`: cookie requests; counted even when none is granted.
    cookie_reqd = "TCPFastOpenCookieReqd",
    /// `TCPFastOpenBlackhole`: times that outgoing fast open was paused.
    blackhole = "TCPFastOpenBlackhole",
    /// `TCPFastOpenPassiveAltKey`: cookies of the backup key that were accepted.
    passive_alt_key = "TCPFastOpenPassiveAltKey",
    /// `TCPSynRetrans`: SYNs and SYN-ACKs sent again.
    syn_retrans = "TCPSynRetrans",
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

    /// Reads the counters out of the text of `/proc/net/netstat`: pairs of lines, names above values.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is no pair of `TcpExt` lines, if they do not match, or if one of
    /// these counters is no number.
    pub fn parse(text: &str) -> Result<Self> {
        let mut counters = Self::default();
        values(text, &mut counters, Self::by_name)?;
        Ok(counters)
    }
}

/// Reads counters of `TcpExt` into the places that `place` returns for their names: the text of
/// `/proc/net/netstat` has pairs of lines, names above values.
pub(super) fn values<T>(
    text: &str,
    counters: &mut T,
    place: impl for<'a> Fn(&'a mut T, &str) -> Option<&'a mut u64>,
) -> Result<()> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(PREFIX));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return Err(malformed(format!("a line of names and one of values begin with {PREFIX}")));
    };
    let (mut names, mut values) = (names.split_ascii_whitespace(), values.split_ascii_whitespace());
    loop {
        match (names.next(), values.next()) {
            (Some(name), Some(value)) => {
                if let Some(counter) = place(counters, name) {
                    *counter = value
                        .parse()
                        .map_err(|_| malformed(format!("{name} is no number: {value:?}")))?;
                }
            }
            (None, None) => return Ok(()),
            _ => return Err(malformed("there are not as many names as values".into())),
        }
    }
}

impl CounterChange {
    /// Whether nothing changed.
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
        assert_eq!(counters.iter().count(), 9);
        assert_eq!(counters.iter().next(), Some(("TCPFastOpenActive", 3)));
    }

    #[test]
    fn a_counter_that_an_old_kernel_lacks_is_zero() {
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
    fn what_is_no_netstat_is_an_error() {
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
        fn what_was_written_is_read_back(values: [u64; 9]) {
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
