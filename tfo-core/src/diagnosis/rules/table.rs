//! The table.

use Sign::{
    AsksForCookies, Child, CookieArrived, CookieForDestination, CookieForSource, CookieGenuine,
    CookieRefused, CookieSent, CookieUnchanged, CookieValid, DataArrived, HandshakeRepeated,
    ListenDropped, MessageAcknowledged, NewCookie, OptionArrived, PartAcknowledged,
    QueueOverflowed, RegularFailsAlike, SameConnection, ServerEnabled, SynAbovePathMtu, SynCookie,
};
use Symptom::{DataNotAcked, NoAnswer, NoCookie, NoHandshake, Refused, SynRepeated};

use super::{Rule, Sign, Symptom};
use crate::diagnosis::Cause;

const fn rule(symptom: Symptom, cause: Cause, requires: &'static [(Sign, bool)]) -> Rule {
    Rule { symptom, cause, requires }
}

/// All rules, by symptom; in each in the order in which a packet meets the causes.
pub const RULES: &[Rule] = &[
    // A proxy answers for the server: whatever the server saw is of another connection.
    rule(NoCookie, Cause::Proxied, &[(SameConnection, false)]),
    rule(NoCookie, Cause::OptionStripped, &[(OptionArrived, false), (SynCookie, false)]),
    rule(NoCookie, Cause::ServerSyncookies, &[(SynCookie, true), (Child, false)]),
    rule(
        NoCookie,
        Cause::ServerDisabled,
        &[(OptionArrived, true), (SynCookie, false), (ServerEnabled, false), (Child, false)],
    ),
    rule(
        NoCookie,
        Cause::QueueFull,
        &[
            (OptionArrived, true),
            (SynCookie, false),
            (ServerEnabled, true),
            (Child, false),
            (QueueOverflowed, true),
        ],
    ),
    rule(
        NoCookie,
        Cause::ServerWithoutCookies,
        &[(OptionArrived, true), (Child, true), (AsksForCookies, false), (QueueOverflowed, false)],
    ),
    rule(
        NoCookie,
        Cause::SynAckOptionStripped,
        &[
            (OptionArrived, true),
            (SynCookie, false),
            (ServerEnabled, true),
            (Child, false),
            (QueueOverflowed, false),
        ],
    ),
    // A SYN-ACK that is sent again has no option: the one with the cookie was lost.
    rule(
        NoCookie,
        Cause::SynRetransmitted,
        &[
            (OptionArrived, true),
            (SynCookie, false),
            (ServerEnabled, true),
            (Child, false),
            (QueueOverflowed, false),
            (HandshakeRepeated, true),
        ],
    ),
    // Nor has a SYN that is sent again: the one with the request was lost.
    rule(
        NoCookie,
        Cause::SynRetransmitted,
        &[(OptionArrived, false), (SynCookie, false), (HandshakeRepeated, true)],
    ),
    rule(DataNotAcked, Cause::PartlyAcknowledged, &[(PartAcknowledged, true)]),
    rule(DataNotAcked, Cause::Proxied, &[(SameConnection, false), (PartAcknowledged, false)]),
    rule(
        DataNotAcked,
        Cause::ClientWithoutCookies,
        &[
            (CookieSent, false),
            (OptionArrived, false),
            (DataArrived, true),
            (SynCookie, false),
            (NewCookie, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    rule(
        DataNotAcked,
        Cause::OptionStripped,
        &[
            (CookieSent, true),
            (OptionArrived, false),
            (SynCookie, false),
            (NewCookie, false),
            (CookieRefused, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    rule(
        DataNotAcked,
        Cause::ServerSyncookies,
        &[(SynCookie, true), (NewCookie, false), (Child, false), (PartAcknowledged, false)],
    ),
    rule(
        DataNotAcked,
        Cause::SynDataStripped,
        &[
            (OptionArrived, true),
            (DataArrived, false),
            (SynCookie, false),
            (PartAcknowledged, false),
        ],
    ),
    // Of a client without cookies no option is missing.
    rule(
        DataNotAcked,
        Cause::SynDataStripped,
        &[(CookieSent, false), (DataArrived, false), (SynCookie, false), (PartAcknowledged, false)],
    ),
    rule(
        DataNotAcked,
        Cause::ServerDisabled,
        &[
            (OptionArrived, true),
            (DataArrived, true),
            (SynCookie, false),
            (ServerEnabled, false),
            (NewCookie, false),
            (CookieRefused, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    rule(
        DataNotAcked,
        Cause::QueueFull,
        &[
            (OptionArrived, true),
            (DataArrived, true),
            (SynCookie, false),
            (ServerEnabled, true),
            (QueueOverflowed, true),
            (NewCookie, false),
            (CookieRefused, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    // Taken out of its option on its way, so that a request arrives.
    rule(
        DataNotAcked,
        Cause::CookieCorrupted,
        &[
            (CookieSent, true),
            (OptionArrived, true),
            (CookieArrived, false),
            (DataArrived, true),
            (SynCookie, false),
            (ServerEnabled, true),
            (NewCookie, false),
            (CookieRefused, false),
            (QueueOverflowed, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    // Changed on its way to the server, which refuses it, and sends the one that was right.
    rule(
        DataNotAcked,
        Cause::CookieCorrupted,
        &[
            (CookieSent, true),
            (CookieArrived, true),
            (CookieRefused, true),
            (CookieGenuine, false),
            (OptionArrived, true),
            (DataArrived, true),
            (CookieUnchanged, false),
            (SynCookie, false),
            (ServerEnabled, true),
            (QueueOverflowed, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    // Changed on its way to the client, now and when it was granted.
    rule(
        DataNotAcked,
        Cause::CookieCorrupted,
        &[
            (CookieSent, true),
            (CookieArrived, true),
            (CookieGenuine, false),
            (CookieRefused, true),
            (OptionArrived, true),
            (DataArrived, true),
            (CookieUnchanged, true),
            (SynCookie, false),
            (ServerEnabled, true),
            (QueueOverflowed, false),
            (NewCookie, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    rule(
        DataNotAcked,
        Cause::AddressTranslated,
        &[
            (CookieSent, true),
            (CookieArrived, true),
            (CookieValid, false),
            (CookieRefused, true),
            (OptionArrived, true),
            (DataArrived, true),
            (CookieUnchanged, true),
            (CookieForSource, false),
            (SynCookie, false),
            (ServerEnabled, true),
            (QueueOverflowed, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    rule(
        DataNotAcked,
        Cause::DestinationTranslated,
        &[
            (CookieSent, true),
            (CookieArrived, true),
            (CookieValid, false),
            (CookieRefused, true),
            (OptionArrived, true),
            (DataArrived, true),
            (CookieUnchanged, true),
            (CookieForDestination, false),
            (SynCookie, false),
            (ServerEnabled, true),
            (QueueOverflowed, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    rule(
        DataNotAcked,
        Cause::KeyMismatch,
        &[
            (CookieSent, true),
            (CookieArrived, true),
            (CookieValid, false),
            (CookieRefused, true),
            (OptionArrived, true),
            (DataArrived, true),
            (CookieUnchanged, true),
            (CookieForSource, true),
            (CookieForDestination, true),
            (SynCookie, false),
            (ServerEnabled, true),
            (QueueOverflowed, false),
            (Child, false),
            (PartAcknowledged, false),
        ],
    ),
    rule(
        SynRepeated,
        Cause::RegularFailsToo,
        &[(RegularFailsAlike, true), (SynAbovePathMtu, false)],
    ),
    rule(
        SynRepeated,
        Cause::PathMtuExceeded,
        &[(SynAbovePathMtu, true), (RegularFailsAlike, false)],
    ),
    rule(
        SynRepeated,
        Cause::AcceptQueueFull,
        &[(ListenDropped, true), (SynAbovePathMtu, false), (RegularFailsAlike, false)],
    ),
    rule(
        SynRepeated,
        Cause::SynRetransmitted,
        &[(ListenDropped, false), (SynAbovePathMtu, false), (RegularFailsAlike, false)],
    ),
    rule(Refused, Cause::Refused, &[(RegularFailsAlike, true)]),
    rule(Refused, Cause::ResetOnSynData, &[(RegularFailsAlike, false)]),
    rule(NoHandshake, Cause::TimedOut, &[(RegularFailsAlike, true)]),
    rule(NoHandshake, Cause::DeadAfterSynData, &[(RegularFailsAlike, false)]),
    rule(NoAnswer, Cause::TimedOut, &[(MessageAcknowledged, true)]),
    rule(NoAnswer, Cause::PathMtuExceeded, &[(MessageAcknowledged, false)]),
    rule(NoAnswer, Cause::DeadAfterSynData, &[(MessageAcknowledged, false)]),
];
