//! `/proc/net/netstat`: what happened to connections that listeners could not take.

use super::counters::{PATH, values};
use crate::{Error, Result};

/// The counters of overloaded listeners, since the namespace was made.
///
/// All listeners of the namespace count. They are no counters of TCP Fast Open, but an overloaded listener loses
/// its connections as well, and a SYN that is answered with a SYN cookie is never a fast open one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ListenCounters {
    /// `ListenOverflows`: SYNs and final ACKs that found an accept queue full.
    #[doc(alias = "ListenOverflows")]
    pub overflows: u64,
    /// `ListenDrops`: SYNs and final ACKs that a listener dropped, for this or another reason.
    #[doc(alias = "ListenDrops")]
    pub drops: u64,
    /// `SyncookiesSent`: SYNs that were answered with a SYN cookie.
    #[doc(alias = "SyncookiesSent")]
    pub syncookies_sent: u64,
}

impl ListenCounters {
    /// Reads the counters of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::System`] if the file can't be read, [`Error::Malformed`] if it is no such file.
    pub fn read() -> Result<Self> {
        let text = std::fs::read_to_string(PATH).map_err(|e| Error::system("read", PATH, e))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut counters = Self::default();
        values(text, &mut counters, Self::by_name)?;
        Ok(counters)
    }

    fn by_name(&mut self, name: &str) -> Option<&mut u64> {
        match name {
            "ListenOverflows" => Some(&mut self.overflows),
            "ListenDrops" => Some(&mut self.drops),
            "SyncookiesSent" => Some(&mut self.syncookies_sent),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text =
            "TcpExt: SyncookiesSent SyncookiesRecv ListenOverflows ListenDrops\nTcpExt: 3 1 4 5\n";
        let found = ListenCounters::parse(text).expect("well-formed");
        assert_eq!(found, ListenCounters { overflows: 4, drops: 5, syncookies_sent: 3 });
        ListenCounters::parse("").expect_err("no netstat");
        ListenCounters::read().expect("procfs is there");
    }
}
