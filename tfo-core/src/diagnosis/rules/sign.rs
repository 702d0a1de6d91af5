//! The facts that rules rest on.

/// Defines the signs: each with what is said where it is there, and where it is known not to be.
macro_rules! signs {
    ($( $(#[$doc:meta])* $sign:ident = $there:literal, $missing:literal; )*) => {
        /// A fact that the evidence of a connection shows, denies, or leaves open.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Sign {
            $( $(#[$doc])* $sign, )*
        }

        impl Sign {
            /// All signs.
            pub const ALL: &[Self] = &[ $( Self::$sign, )* ];

            /// The fact in words: as it is if it is there, or if it is known to be missing.
            #[must_use]
            pub const fn in_words(self, there: bool) -> &'static str {
                match self {
                    $( Self::$sign => if there { $there } else { $missing }, )*
                }
            }
        }
    };
}

signs! {
    /// By `TCP_TIMESTAMP` of the client and the `TSval` that arrived.
    SameConnection =
        "the server saw the SYN that this client sent (its TSval)",
        "the SYN that arrived has another TSval than the client's";
    /// By the client's setting, its route and its cache.
    CookieSent =
        "the client's SYN carried a cookie",
        "the client sends its data without a cookie";
    /// By the SYN that the server saved.
    OptionArrived =
        "the fast open option arrived",
        "the SYN arrived without the fast open option";
    /// By the SYN that the server saved.
    CookieArrived =
        "a cookie arrived in the fast open option",
        "no cookie arrived in the fast open option";
    /// By the SYN that the server saved.
    DataArrived =
        "the data of the SYN arrived",
        "the SYN arrived without its data";
    /// By the cookie that was sent and the one that arrived.
    CookieUnchanged =
        "the cookie arrived as it was sent",
        "the cookie arrived changed";
    /// By the server's keys.
    CookieGenuine =
        "a key of the server made the cookie",
        "no key that the server knows made the cookie";
    /// By the server's keys.
    CookieValid =
        "the cookie is of a key in use, and for these addresses",
        "the cookie is not of a key in use, or for other addresses";
    /// By `TCP_SAVED_SYN`, which is empty then, and `net.ipv4.tcp_syncookies`.
    SynCookie =
        "the server answered with a SYN cookie",
        "the server did not answer with a SYN cookie";
    /// By `net.ipv4.tcp_fastopen` and the listener's queue.
    ServerEnabled =
        "fast open is on at the server's listener",
        "fast open is off at the server";
    /// By `net.ipv4.tcp_fastopen`, the listener's `TCP_FASTOPEN_NO_COOKIE` and the route to the client.
    AsksForCookies =
        "the server asks this client for a cookie",
        "the server takes data without a cookie";
    /// By `TCPI_OPT_TFO_CHILD`, on kernels that are known to set it.
    Child =
        "the server's kernel made a fast open connection of the SYN",
        "the server's kernel made a regular connection of the SYN";
    /// By `TCPFastOpenListenOverflow`, where the change can only be this connection's.
    QueueOverflowed =
        "the fast open queue of the listener was full",
        "no fast open queue of the server's host was full";
    /// By `TCPFastOpenPassiveFail`, where the change can only be this connection's.
    CookieRefused =
        "the server counted a cookie that it refused",
        "the server refused no cookie";
    /// By the client's cache before and after.
    NewCookie =
        "a new cookie came back",
        "no new cookie came back";
    /// By the source address that the cookie came to, or that the server's keys show.
    CookieForSource =
        "the cookie was made for the source address that arrived",
        "the cookie was made for another source address";
    /// By the destination address that the cookie came from.
    CookieForDestination =
        "the cookie was made by a server of the address that was reached",
        "the cookie was made by a server of another address";
    /// By `tcpi_bytes_retrans`.
    PartAcknowledged =
        "the SYN-ACK acknowledged a part of the data",
        "the SYN-ACK acknowledged none of the data";
    /// By `tcpi_pmtu` after the connection, and the size of its SYN.
    SynAbovePathMtu =
        "the SYN was larger than the path's MTU",
        "the SYN fits the path's MTU";
    /// By `ListenDrops` of the server's host, where the change can only be this connection's.
    ListenDropped =
        "the server's host dropped a SYN or an ACK for want of room",
        "the server's host dropped no SYN";
    /// By `tcpi_total_retrans` of both ends.
    HandshakeRepeated =
        "a SYN or SYN-ACK was sent again",
        "SYN and SYN-ACK were sent once";
    /// By regular connections that were made in turn with those whose SYN has data.
    RegularFailsAlike =
        "regular connections fail alike",
        "regular connections, made in turn with these, all pass";
    /// By `tcpi_unacked` and `tcpi_bytes_acked`.
    MessageAcknowledged =
        "the server's host acknowledged the whole message",
        "the message was never acknowledged";
}
