//! What was found on a path, and between which hops.

use std::fmt;
use std::net::IpAddr;

use super::SynKind;

/// Defines the kinds of faults: variant, word, whether fast open works all the same, what happens in a sentence.
macro_rules! fault_kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $harmless:literal, $happens:literal;)*) => {
        /// A kind of fault: what happens to a SYN on the way.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        pub enum FaultKind {
            $($(#[$doc])* #[cfg_attr(feature = "serde", serde(rename = $word))] $variant,)*
        }

        impl FaultKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word, as it is in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Whether fast open works all the same.
            #[must_use]
            pub const fn is_harmless(self) -> bool {
                match self { $(Self::$variant => $harmless,)* }
            }

            /// Returns what happens, to follow the name of the SYNs that it happens to.
            #[must_use]
            pub const fn happens(self) -> &'static str {
                match self { $(Self::$variant => $happens,)* }
            }
        }
    };
}

fault_kinds! {
    /// NOPs are where the fast open option was.
    OptionOverwritten = "option-overwritten", false, "have their option overwritten with NOPs";
    /// The fast open option is gone.
    OptionRemoved = "option-removed", false, "lose their option";
    /// Option 254 is there instead of 34.
    OptionRenumbered = "option-renumbered", true, "have option 254 instead of 34";
    /// The cookie is another one.
    CookieChanged = "cookie-changed", false, "have another cookie";
    /// The data is gone, or the end of it is.
    DataRemoved = "data-removed", false, "lose their data";
    /// The data is other data.
    DataChanged = "data-changed", false, "have other data";
    /// It disappears, and a regular SYN does not.
    Dropped = "dropped", false, "disappear";
    /// It is answered with a reset, in the target's name.
    Reset = "reset", false, "are answered with a reset";
    /// It is answered with an ICMP error other than that its TTL ended.
    Prohibited = "prohibited", false, "are refused by ICMP";
    /// It is answered with a SYN-ACK, in the target's name.
    Intercepted = "intercepted", false, "are answered by somebody else than the target";
    /// A hop terminates TCP, and opens connections of its own.
    Proxy = "proxy", false, "end at a proxy, which opens connections of its own";
    /// It passes, and then nothing else of its connection does.
    FlowDropped = "flow-dropped", false, "pass, and then nothing else from their port does";
    /// It does not fit, and a smaller one does.
    TooLarge = "too-large", false, "do not fit";
    /// The option of the SYN-ACK is gone, on the way back.
    AnswerOptionRemoved = "syn-ack-option-removed", false, "get an answer that lost its option on the way back";
    /// The SYN arrives, and its SYN-ACK does not come back; that of a regular SYN does.
    AnswerDropped = "syn-ack-dropped", false, "arrive, and their answer gets lost on the way back";
    /// The maximum segment size is another one.
    MssChanged = "mss-changed", true, "have another maximum segment size";
    /// An option other than fast open's is gone.
    OptionLost = "other-option-removed", true, "lose another option";
    /// An option other than fast open's was added.
    OptionAdded = "other-option-added", true, "have another option added";
    /// The address or the port is translated.
    AddressChanged = "address-changed", true, "have their address or port translated";
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A fault: what happens to one kind of SYN between two hops.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// The SYNs that it happens to.
    pub syn: SynKind,
    /// The last hop that still saw such SYNs unchanged; 0 is this host.
    pub after_hop: u8,
    /// The first hop that did not see them so, or that lies behind the fault.
    pub before_hop: u8,
    /// How many such SYNs were sent to hops from `before_hop` on.
    pub tried: u32,
    /// How many of them arrived as they were sent.
    pub passed: u32,
    /// How many regular SYNs were sent to the same hops.
    pub control_tried: u32,
    /// How many of them arrived.
    pub control_passed: u32,
    /// Whether the kernel's retransmission of such a SYN, a regular one from the same socket, arrived.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "bool"))]
    pub retransmission_passed: Option<bool>,
    /// Who answered, where somebody did.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "IpAddr"))]
    pub by: Option<IpAddr>,
    /// The value before and after: of a maximum segment size, or the largest data that passes and the smallest that does not.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "(u32, u32)"))]
    pub values: Option<(u32, u32)>,
    /// The number of another option.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "u8"))]
    pub option: Option<u8>,
    /// The path's MTU, where it is known.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    #[cfg_attr(feature = "schema", schemars(with = "u32"))]
    pub mtu: Option<u32>,
    /// The interval is wider than one hop because packets take different ways.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    #[cfg_attr(feature = "schema", schemars(with = "bool"))]
    pub widened: bool,
}

impl Fault {
    /// Creates a fault between two hops, without counts.
    #[must_use]
    pub const fn new(kind: FaultKind, syn: SynKind, after_hop: u8, before_hop: u8) -> Self {
        Self {
            kind,
            syn,
            after_hop,
            before_hop,
            tried: 0,
            passed: 0,
            control_tried: 0,
            control_passed: 0,
            retransmission_passed: None,
            by: None,
            values: None,
            option: None,
            mtu: None,
            widened: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FaultKind;
    use crate::diagnosis::manual::Topic;

    #[test]
    fn each_kind_of_fault_has_a_page_and_each_page_a_kind() {
        let pages = Topic::all().filter(|topic| matches!(topic, Topic::Fault(_)));
        let pages: Vec<&str> = pages.map(Topic::as_str).collect();
        let kinds: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(pages, kinds);
    }
}
