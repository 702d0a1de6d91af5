//! What boxes on the path do to TCP segments. No I/O and no clock: a segment in, what becomes of it
//! out.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::frame::{Flow, Segment};
use crate::capture::{Deed, Direction};
use crate::error::Error;
use crate::wire::FastOpenKind::{self, Experimental, Standard};

const BOTH: &[FastOpenKind] = &[Standard, Experimental];

/// Defines the boxes: variant, name on the command line, what it does in one line.
macro_rules! middleboxes {
    ($($variant:ident = $name:literal, $does:literal;)*) => {
        /// A box on the path that does something to TCP Fast Open.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[non_exhaustive]
        pub enum Middlebox {
            $(#[doc = $does] #[cfg_attr(feature = "serde", serde(rename = $name))] $variant,)*
        }

        impl Middlebox {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, as on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it does, in one line.
            #[must_use]
            pub const fn does(self) -> &'static str {
                match self { $(Self::$variant => $does,)* }
            }
        }
    };
}

middleboxes! {
    StripSynOption = "strip-syn-option", "overwrites the fast open option of SYNs with NOPs, both kinds";
    StripSynOption34 = "strip-syn-option-34", "overwrites option 34 of SYNs with NOPs";
    StripSynOption254 = "strip-syn-option-254", "overwrites the experimental option 254 of SYNs with NOPs";
    StripSynAckOption = "strip-syn-ack-option", "overwrites the fast open option of SYN-ACKs with NOPs, both kinds";
    StripSynAckOption34 = "strip-syn-ack-option-34", "overwrites option 34 of SYN-ACKs with NOPs";
    StripSynAckOption254 = "strip-syn-ack-option-254", "overwrites the experimental option 254 of SYN-ACKs with NOPs";
    OverwriteOption = "overwrite-option", "overwrites the fast open option of SYNs with NOPs, and removes their data";
    DropSynData = "drop-syn-data", "drops SYNs that carry data";
    DropSynOption = "drop-syn-option", "drops SYNs that carry the fast open option";
    DropSynAckCookie = "drop-syn-ack-cookie", "drops SYN-ACKs that carry a cookie";
    StripSynData = "strip-syn-data", "removes the data of SYNs, and leaves their option";
    ResetSynData = "reset-syn-data", "answers SYNs that carry data with a reset";
    SwallowAfterSynData = "swallow-after-syn-data", "lets a SYN with data pass, and drops all else of its connection";
    CorruptCookie = "corrupt-cookie", "changes the cookie of SYNs";
    DuplicateSyn = "duplicate-syn", "sends each SYN twice";
    TranslateSource = "translate-source", "gives each connection another source address";
}

impl fmt::Display for Middlebox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Middlebox {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|known| known.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|known| known.name()).collect();
            Error::malformed(
                "box",
                format!("unknown name {text:?}: expected one of {}", names.join(", ")),
            )
        })
    }
}

/// A segment that leaves the boxes.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) direction: Direction,
    pub(super) segment: Segment,
    /// No host sent it: a box made it.
    pub(super) forged: bool,
}

/// What the boxes did to one segment.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Empty: it was dropped.
    pub(super) leaving: Vec<Leaving>,
    pub(super) deeds: Vec<Deed>,
}

/// The boxes of a path, with what they remember.
#[derive(Debug, Default)]
pub(super) struct Middleboxes {
    boxes: Vec<Middlebox>,
    swallowed: HashSet<Flow>,
    translated: HashMap<SocketAddr, IpAddr>,
    original: HashMap<SocketAddr, IpAddr>,
}

/// What a box says of a segment.
enum Ruling {
    Pass,
    Drop(&'static str),
    Reset,
    Copy,
}

impl Middleboxes {
    pub(super) fn new(boxes: &[Middlebox]) -> Self {
        Self { boxes: boxes.to_vec(), ..Self::default() }
    }

    /// Sends a segment through all boxes: those next to its sender come first.
    pub(super) fn pass(&mut self, direction: Direction, mut segment: Segment) -> Outcome {
        let mut outcome = Outcome::default();
        let mut copies = 0;
        let count = self.boxes.len();
        for step in 0..count {
            let index = if direction == Direction::ToServer { step } else { count - 1 - step };
            let Some(middlebox) = self.boxes.get(index).copied() else { break };
            match self.apply(middlebox, direction, &mut segment, &mut outcome.deeds) {
                Ruling::Pass => {}
                Ruling::Copy => copies += 1,
                Ruling::Drop(what) => {
                    outcome.deeds.push(Deed::new(middlebox.name(), what));
                    return outcome;
                }
                Ruling::Reset => {
                    outcome
                        .deeds
                        .push(Deed::new(middlebox.name(), "dropped, and answered with a reset"));
                    let leaving = Leaving {
                        direction: direction.reverse(),
                        segment: segment.reset(),
                        forged: true,
                    };
                    outcome.leaving.push(leaving);
                    return outcome;
                }
            }
        }
        for _ in 0..copies {
            outcome.leaving.push(Leaving { direction, segment: segment.clone(), forged: true });
        }
        outcome.leaving.insert(0, Leaving { direction, segment, forged: false });
        outcome
    }

    fn apply(
        &mut self,
        middlebox: Middlebox,
        direction: Direction,
        segment: &mut Segment,
        deeds: &mut Vec<Deed>,
    ) -> Ruling {
        let syn = segment.is_syn() && direction == Direction::ToServer;
        let syn_ack = segment.is_syn_ack() && direction == Direction::ToClient;
        let syn_data = syn && segment.data_len() > 0;
        let mut did = |what: String| deeds.push(Deed::new(middlebox.name(), what));
        match middlebox {
            Middlebox::StripSynOption if syn => strip(segment, BOTH, &mut did),
            Middlebox::StripSynOption34 if syn => strip(segment, &[Standard], &mut did),
            Middlebox::StripSynOption254 if syn => strip(segment, &[Experimental], &mut did),
            Middlebox::StripSynAckOption if syn_ack => strip(segment, BOTH, &mut did),
            Middlebox::StripSynAckOption34 if syn_ack => strip(segment, &[Standard], &mut did),
            Middlebox::StripSynAckOption254 if syn_ack => strip(segment, &[Experimental], &mut did),
            Middlebox::OverwriteOption if syn => {
                strip(segment, BOTH, &mut did);
                remove_data(segment, &mut did);
            }
            Middlebox::DropSynData if syn_data => return Ruling::Drop("dropped: a SYN with data"),
            Middlebox::DropSynOption if syn && segment.fast_open().is_some() => {
                return Ruling::Drop("dropped: a SYN with the option");
            }
            Middlebox::DropSynAckCookie
                if syn_ack && segment.fast_open().is_some_and(|option| !option.is_request()) =>
            {
                return Ruling::Drop("dropped: a SYN-ACK with a cookie");
            }
            Middlebox::StripSynData if syn_data => remove_data(segment, &mut did),
            Middlebox::ResetSynData if syn_data => return Ruling::Reset,
            Middlebox::SwallowAfterSynData => return self.swallow(direction, segment, syn_data),
            Middlebox::CorruptCookie if syn && segment.corrupt_cookie() => {
                did("cookie changed".to_owned());
            }
            Middlebox::DuplicateSyn if syn => {
                did("sent twice".to_owned());
                return Ruling::Copy;
            }
            Middlebox::TranslateSource => self.translate(direction, segment, &mut did),
            _ => {}
        }
        Ruling::Pass
    }

    fn swallow(&mut self, direction: Direction, segment: &Segment, syn_data: bool) -> Ruling {
        let flow = flow(direction, segment);
        if syn_data {
            // The first one passes, its repetitions too.
            self.swallowed.insert(flow);
            Ruling::Pass
        } else if self.swallowed.contains(&flow) {
            Ruling::Drop("dropped: its SYN had data")
        } else {
            Ruling::Pass
        }
    }

    fn translate(
        &mut self,
        direction: Direction,
        segment: &mut Segment,
        did: &mut impl FnMut(String),
    ) {
        match direction {
            Direction::ToServer => {
                let source = segment.source();
                let next = self.translated.len();
                let pool =
                    *self.translated.entry(source).or_insert_with(|| pool(source.ip(), next));
                self.original.insert(SocketAddr::new(pool, source.port()), source.ip());
                segment.set_source(pool);
                did(format!("source {} became {pool}", source.ip()));
            }
            Direction::ToClient => {
                if let Some(client) = self.original.get(&segment.destination()) {
                    segment.set_destination(*client);
                }
            }
        }
    }
}

/// The address of the pool for the connection of this number. 198.51.100.0/24 (RFC 5737) and
/// `2001:db8:1::/64`.
fn pool(like: IpAddr, number: usize) -> IpAddr {
    let last = u8::try_from(number % 250).unwrap_or(0) + 1;
    if like.is_ipv4() {
        Ipv4Addr::new(198, 51, 100, last).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last.into()).into()
    }
}

fn strip(segment: &mut Segment, kinds: &[FastOpenKind], did: &mut impl FnMut(String)) {
    for kind in kinds {
        if segment.overwrite_option(*kind) {
            did(format!("option {} overwritten with NOPs", kind.number()));
        }
    }
}

fn remove_data(segment: &mut Segment, did: &mut impl FnMut(String)) {
    let len = segment.data_len();
    if len > 0 {
        segment.remove_data();
        did(format!("{len} B of data removed"));
    }
}

/// The connection of a segment.
pub(super) fn flow(direction: Direction, segment: &Segment) -> Flow {
    match direction {
        Direction::ToServer => Flow { client: segment.source(), server: segment.destination() },
        Direction::ToClient => Flow { client: segment.destination(), server: segment.source() },
    }
}
