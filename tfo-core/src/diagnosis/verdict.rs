//! The words of a verdict: what happened, why, the blame, and the next step.

use std::fmt;

/// What happened to one connection, and why.
///
/// Its `Display` is the finding. `cause` is never guessed: where the evidence can't settle it,
/// `cause` is the broader word and `candidates` lists what it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Verdict {
    /// What happened.
    #[cfg_attr(feature = "serde", serde(rename = "verdict"))]
    pub outcome: Outcome,
    /// Why, where there is a why.
    pub cause: Option<Cause>,
    /// The blame, if there is something to blame.
    pub blame: Option<Blame>,
    /// The causes that fit the evidence, when it can't settle which of them it was.
    #[cfg_attr(feature = "schema", schemars(extend("uniqueItems" = true)))]
    pub candidates: Vec<Cause>,
    /// Whether the candidates are all that can have been it: one of them was. False also without candidates.
    pub candidates_complete: bool,
    /// What data that was accepted in the SYN has saved. Absent if it was not accepted, or if that is unknown.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "Saved"))]
    pub saved: Option<Saved>,
    /// Whether data was accepted in the SYN and nothing shows that the service got it: it sent no answer, or none was waited
    /// for. Absent if it answered, or if no data was accepted.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub unanswered: bool,
    /// What was found: one sentence.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub finding: String,
    /// What to do next, with the exact command where there is one.
    pub advice: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding)
    }
}

/// Defines an enum of words that are the same in text, JSON and code.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$doc:meta])* $variant:ident = $word:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$doc])* #[cfg_attr(feature = "serde", serde(rename = $word))] $variant, )*
        }

        impl $name {
            /// All words, in the order of the documentation.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];

            /// Returns the word used in text and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// What happened to a connection.
    Outcome {
        /// Data in the SYN was acknowledged by the SYN-ACK.
        FastOpen = "fast-open",
        /// No cookie was cached; the client asked for one and got it; the data went after the handshake.
        CookieGranted = "cookie-granted",
        /// Fast open was tried, and the connection became a regular one.
        Fallback = "fallback",
        /// A regular connection, on purpose or by a local setting.
        NotAttempted = "not-attempted",
        /// No connection, or no answer.
        Failed = "failed",
    }
}

words! {
    /// Why it happened.
    Cause {
        /// A cookie was asked for, and none came back.
        NoCookieReturned = "no-cookie-returned",
        /// The server refused the cookie and sent a new one.
        CookieRejected = "cookie-rejected",
        /// The SYN-ACK came, but did not acknowledge the SYN's data.
        DataNotAcked = "data-not-acked",
        /// The SYN with the option, or with data, got no answer; a plain one did.
        SynRetransmitted = "syn-retransmitted",
        /// The program is configured not to use fast open.
        DisabledByConfig = "disabled-by-config",
        /// The client's bit of `net.ipv4.tcp_fastopen` is off.
        ClientDisabled = "client-disabled",
        /// The client's kernel paused fast open after a suspected blackhole.
        PausedByBlackhole = "paused-by-blackhole",
        /// The client's program paused fast open to this destination after it had failed.
        PausedByProgram = "paused-by-program",
        /// Nobody listens on the port.
        Refused = "refused",
        /// The SYN with data is answered by a reset, or by an ICMP error; a plain one is not.
        ResetOnSynData = "reset-on-syn-data",
        /// No answer in the time given.
        TimedOut = "timed-out",
        /// After a SYN with data nothing more came through; a plain connection works.
        DeadAfterSynData = "dead-after-syn-data",
        /// No route to the address.
        Unreachable = "unreachable",
        /// The fast open option was removed from the SYN on its way.
        OptionStripped = "option-stripped",
        /// The SYN's data was removed on its way.
        SynDataStripped = "syn-data-stripped",
        /// The fast open option was removed from the SYN-ACK on its way.
        SynAckOptionStripped = "syn-ack-option-stripped",
        /// The server's bit is off, or its listener has no fast open queue.
        ServerDisabled = "server-disabled",
        /// The server answered with a SYN cookie, which leaves no room for fast open.
        ServerSyncookies = "server-syncookies",
        /// The server takes data without cookies, and so never grants one.
        ServerWithoutCookies = "server-without-cookies",
        /// The listener's fast open queue was full.
        QueueFull = "queue-full",
        /// The cookie arrived as it was sent, but was made with another key.
        KeyMismatch = "key-mismatch",
        /// The cookie arrived changed.
        CookieCorrupted = "cookie-corrupted",
        /// The client's address is translated on the way, so its cookies do not fit.
        AddressTranslated = "address-translated",
        /// The server's address is translated on the way, so a cookie of another server does not fit.
        DestinationTranslated = "destination-translated",
        /// A proxy in between answered the SYN: the server saw another connection.
        Proxied = "proxied",
        /// The SYN was larger than the path's MTU.
        PathMtuExceeded = "path-mtu-exceeded",
        /// The SYN-ACK acknowledged only a part of the data in the SYN.
        PartlyAcknowledged = "partly-acknowledged",
        /// The client sent its data without a cookie, because a setting, a route or a socket option says so.
        ClientWithoutCookies = "client-without-cookies",
        /// The server's host dropped the SYN because its accept queue was full.
        AcceptQueueFull = "accept-queue-full",
        /// Regular connections to this server fail in the same way.
        RegularFailsToo = "regular-fails-too",
    }
}

words! {
    /// The side that a cause is on, seen from the host that reads the verdict.
    Blame {
        /// This host.
        ThisHost = "this-host",
        /// The other end.
        Peer = "peer",
        /// Something between the two.
        Path = "path",
        /// The evidence can't tell.
        Unknown = "unknown",
    }
}

words! {
    /// What data that was accepted in the SYN has saved: that the server took it early does not say that it answered
    /// early.
    Saved {
        /// The first byte of the answer came within one and a half round trips of the SYN.
        RoundTrip = "round-trip",
        /// It came later: no saving was measured.
        Nothing = "nothing",
    }
}
