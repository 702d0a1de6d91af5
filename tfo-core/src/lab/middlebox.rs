//! What boxes on the path do to TCP segments. No I/O and no clock: a segment in, the resulting segments out.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::frame::{Flow, Segment};
use crate::capture::{Direction, Modification};
use crate::error::Error;
use crate::wire::FastOpenKind::{self, Experimental, Standard};

/// What `clamp-mss` leaves of the maximum segment size.
const CLAMPED_MSS: u16 = 1200;
/// The option that allows selective acknowledgments (RFC 2018).
const SACK_PERMITTED: u8 = 4;

const BOTH: &[FastOpenKind] = &[Standard, Experimental];

/// Defines the boxes: variant, name on the command line, one line of description.
macro_rules! middleboxes {
    ($($variant:ident = $name:literal, $does:literal;)*) => {
        /// A box on the path that interferes with TCP Fast Open.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[non_exhaustive]
        pub enum Middlebox {
            $(#[doc = $does] #[cfg_attr(feature = "serde", serde(rename = $name))] $variant,)*
        }

        impl Middlebox {
            /// All boxes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the name, as on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns a description in one line.
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
    RemoveSynOption = "remove-syn-option", "takes the fast open option out of SYNs, without a trace";
    RenumberSynOption = "renumber-syn-option", "makes the experimental option 254 of option 34 in SYNs";
    ProhibitSynData = "prohibit-syn-data", "answers SYNs that carry data with ICMP `prohibited`";
    ClampMss = "clamp-mss", "lowers the maximum segment size of SYNs to 1200";
    StripSackPermitted = "strip-sack-permitted", "overwrites the SACK-permitted option of SYNs with NOPs";
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
    /// The box that created the segment. `None`: a host sent it.
    pub(super) made_by: Option<&'static str>,
}

/// The result of all boxes for one segment.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Empty if the segment was dropped.
    pub(super) leaving: Vec<Leaving>,
    /// It was dropped, and its sender is owed an ICMP error that says so.
    pub(super) prohibited: bool,
    pub(super) modifications: Vec<Modification>,
}

/// The boxes of a path, with their state.
#[derive(Debug, Default)]
pub(super) struct Middleboxes {
    boxes: Vec<Middlebox>,
    swallowed: HashSet<Flow>,
    translated: HashMap<SocketAddr, IpAddr>,
    original: HashMap<SocketAddr, IpAddr>,
}

/// The decision of a box about a segment.
enum Ruling {
    Pass,
    Drop(&'static str),
    Reset,
    Prohibit,
    Copy,
}

impl Middleboxes {
    pub(super) fn new(boxes: &[Middlebox]) -> Self {
        Self { boxes: boxes.to_vec(), ..Self::default() }
    }

    /// Passes a segment through all boxes, beginning with those next to its sender.
    pub(super) fn pass(&mut self, direction: Direction, mut segment: Segment) -> Outcome {
        let mut outcome = Outcome::default();
        let mut copies = Vec::new();
        let count = self.boxes.len();
        for step in 0..count {
            let index = if direction == Direction::ToServer { step } else { count - 1 - step };
            let Some(middlebox) = self.boxes.get(index).copied() else { break };
            match self.apply(middlebox, direction, &mut segment, &mut outcome.modifications) {
                Ruling::Pass => {}
                Ruling::Copy => copies.push(middlebox.name()),
                Ruling::Drop(what) => {
                    outcome.modifications.push(Modification::new(middlebox.name(), what));
                    return outcome;
                }
                Ruling::Prohibit => {
                    outcome.modifications.push(Modification::new(
                        middlebox.name(),
                        "dropped, and answered with ICMP",
                    ));
                    outcome.prohibited = true;
                    return outcome;
                }
                Ruling::Reset => {
                    outcome.modifications.push(Modification::new(
                        middlebox.name(),
                        "dropped, and answered with a reset",
                    ));
                    let leaving = Leaving {
                        direction: direction.reverse(),
                        segment: segment.reset(),
                        made_by: Some(middlebox.name()),
                    };
                    outcome.leaving.push(leaving);
                    return outcome;
                }
            }
        }
        for made_by in copies.into_iter().map(Some) {
            outcome.leaving.push(Leaving { direction, segment: segment.clone(), made_by });
        }
        outcome.leaving.insert(0, Leaving { direction, segment, made_by: None });
        outcome
    }

    /// Whether there are no boxes.
    pub(super) fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// The client's own address, where this one was given to it.
    pub(super) fn client_of(&self, translated: &SocketAddr) -> Option<IpAddr> {
        self.original.get(translated).copied()
    }

    fn apply(
        &mut self,
        middlebox: Middlebox,
        direction: Direction,
        segment: &mut Segment,
        modifications: &mut Vec<Modification>,
    ) -> Ruling {
        let syn = segment.is_syn() && direction == Direction::ToServer;
        let syn_ack = segment.is_syn_ack() && direction == Direction::ToClient;
        let syn_data = syn && segment.data_len() > 0;
        let mut did = |what: String| modifications.push(Modification::new(middlebox.name(), what));
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
            Middlebox::RemoveSynOption if syn && segment.remove_fast_open() => {
                did("option removed".to_owned());
            }
            Middlebox::RenumberSynOption if syn && segment.renumber_fast_open() => {
                did("option 34 became 254".to_owned());
            }
            Middlebox::ProhibitSynData if syn_data => return Ruling::Prohibit,
            Middlebox::ClampMss if syn => {
                if let Some(before) = segment.clamp_mss(CLAMPED_MSS) {
                    did(format!("MSS {before} became {CLAMPED_MSS}"));
                }
            }
            Middlebox::StripSackPermitted if syn && segment.overwrite_kind(SACK_PERMITTED) => {
                did("SACK permitted overwritten with NOPs".to_owned());
            }
            _ => {}
        }
        Ruling::Pass
    }

    fn swallow(&mut self, direction: Direction, segment: &Segment, syn_data: bool) -> Ruling {
        let flow = flow(direction, segment);
        if syn_data {
            // The first one passes, and its retransmissions too.
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

/// Returns the address for the connection with this number, from 198.51.100.0/24 (RFC 5737) or `2001:db8:1::/64`.
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

/// Returns the connection of a segment.
pub(super) fn flow(direction: Direction, segment: &Segment) -> Flow {
    match direction {
        Direction::ToServer => Flow { client: segment.source(), server: segment.destination() },
        Direction::ToClient => Flow { client: segment.destination(), server: segment.source() },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::sample::{
        ACK, BEFORE, COOKIE, SYN, SYN_ACK, assert_sound, header, option, segment, syn,
    };
    use super::*;

    const TO_SERVER: Direction = Direction::ToServer;
    const TO_CLIENT: Direction = Direction::ToClient;

    fn modifications(outcome: &Outcome) -> Vec<&str> {
        outcome.modifications.iter().map(|modification| modification.by).collect()
    }

    /// Returns an answer: addresses and ports swapped.
    fn answer(to: &Segment, flags: u8, options: &[u8], data: &[u8]) -> Segment {
        let mut bytes = segment(to.source().is_ipv6(), flags, options, data).into_bytes();
        let ports = bytes.len() - data.len() - 20 - options.len();
        bytes[ports..ports + 2].copy_from_slice(&to.destination().port().to_be_bytes());
        bytes[ports + 2..ports + 4].copy_from_slice(&to.source().port().to_be_bytes());
        let mut answer = Segment::parse(&bytes).expect("a whole segment");
        answer.set_source(to.destination().ip());
        answer.set_destination(to.source().ip());
        assert_sound(&answer);
        answer
    }

    fn syn_ack(to: &Segment, option: &[u8]) -> Segment {
        answer(to, SYN_ACK, &[&BEFORE, option].concat(), &[])
    }

    /// Returns the kinds of segments that a box might act on, with their direction.
    fn traffic(v6: bool) -> Vec<(&'static str, Direction, Segment)> {
        let plain = syn(v6, &[], &[]);
        vec![
            ("syn", TO_SERVER, plain.clone()),
            ("syn+data", TO_SERVER, syn(v6, &[], b"data")),
            ("request34", TO_SERVER, syn(v6, &option(Standard, &[]), &[])),
            ("request254", TO_SERVER, syn(v6, &option(Experimental, &[]), &[])),
            ("cookie34+data", TO_SERVER, syn(v6, &option(Standard, &COOKIE), b"data")),
            ("cookie254+data", TO_SERVER, syn(v6, &option(Experimental, &COOKIE), b"data")),
            ("cookie34", TO_SERVER, syn(v6, &option(Standard, &COOKIE), &[])),
            ("ack", TO_SERVER, segment(v6, ACK, &[], &[])),
            ("data", TO_SERVER, segment(v6, ACK, &[], b"data")),
            ("syn-ack", TO_CLIENT, syn_ack(&plain, &[])),
            ("syn-ack34", TO_CLIENT, syn_ack(&plain, &option(Standard, &COOKIE))),
            ("syn-ack254", TO_CLIENT, syn_ack(&plain, &option(Experimental, &COOKIE))),
            ("answer", TO_CLIENT, answer(&plain, ACK, &[], b"answer")),
            // A SYN in the other direction: no box of this path acts on it.
            ("server's syn", TO_CLIENT, answer(&plain, SYN, &option(Standard, &COOKIE), b"data")),
        ]
    }

    /// Returns the names in [`traffic`] on which each box acts without earlier segments.
    fn acts_on(middlebox: Middlebox) -> &'static [&'static str] {
        match middlebox {
            Middlebox::StripSynOption | Middlebox::DropSynOption | Middlebox::RemoveSynOption => {
                &["request34", "request254", "cookie34+data", "cookie254+data", "cookie34"]
            }
            Middlebox::StripSynOption34 | Middlebox::RenumberSynOption => {
                &["request34", "cookie34+data", "cookie34"]
            }
            Middlebox::StripSynOption254 => &["request254", "cookie254+data"],
            Middlebox::StripSynAckOption | Middlebox::DropSynAckCookie => {
                &["syn-ack34", "syn-ack254"]
            }
            Middlebox::StripSynAckOption34 => &["syn-ack34"],
            Middlebox::StripSynAckOption254 => &["syn-ack254"],
            Middlebox::OverwriteOption => &[
                "syn+data",
                "request34",
                "request254",
                "cookie34+data",
                "cookie254+data",
                "cookie34",
            ],
            Middlebox::DropSynData
            | Middlebox::StripSynData
            | Middlebox::ResetSynData
            | Middlebox::ProhibitSynData => &["syn+data", "cookie34+data", "cookie254+data"],
            Middlebox::SwallowAfterSynData => &[],
            Middlebox::CorruptCookie => &["cookie34+data", "cookie254+data", "cookie34"],
            Middlebox::DuplicateSyn | Middlebox::ClampMss | Middlebox::StripSackPermitted => &[
                "syn",
                "syn+data",
                "request34",
                "request254",
                "cookie34+data",
                "cookie254+data",
                "cookie34",
            ],
            Middlebox::TranslateSource => &[
                "syn",
                "syn+data",
                "request34",
                "request254",
                "cookie34+data",
                "cookie254+data",
                "cookie34",
                "ack",
                "data",
            ],
        }
    }

    #[test]
    fn each_box_acts_where_it_says_and_nowhere_else() {
        for &middlebox in Middlebox::ALL {
            for v6 in [false, true] {
                for (name, direction, before) in traffic(v6) {
                    let bytes = before.clone().into_bytes();
                    let outcome = Middleboxes::new(&[middlebox]).pass(direction, before);
                    let acted = acts_on(middlebox).contains(&name);
                    assert_eq!(
                        !outcome.modifications.is_empty(),
                        acted,
                        "{middlebox}, {name}: a modification"
                    );
                    assert!(modifications(&outcome).iter().all(|by| *by == middlebox.name()));
                    for leaving in &outcome.leaving {
                        assert_sound(&leaving.segment);
                    }
                    if acted {
                        continue;
                    }
                    let [leaving] = &outcome.leaving[..] else {
                        panic!("{middlebox} let {} segments out for {name}", outcome.leaving.len());
                    };
                    assert!(leaving.made_by.is_none() && leaving.direction == direction);
                    assert_eq!(leaving.segment.clone().into_bytes(), bytes, "{middlebox}, {name}");
                }
            }
        }
    }

    /// Returns the single segment that leaves a single box.
    fn through(middlebox: Middlebox, segment: Segment) -> Segment {
        let outcome = Middleboxes::new(&[middlebox]).pass(TO_SERVER, segment);
        let [leaving] = <[Leaving; 1]>::try_from(outcome.leaving).expect("one segment leaves");
        assert_sound(&leaving.segment);
        leaving.segment
    }

    #[test]
    fn each_box_changes_a_syn_as_described() {
        for v6 in [false, true] {
            for kind in [Standard, Experimental] {
                let before = || syn(v6, &option(kind, &COOKIE), b"data");
                let stripped = through(Middlebox::StripSynOption, before());
                assert_eq!((stripped.fast_open(), stripped.data_len()), (None, 4));
                let overwritten = through(Middlebox::OverwriteOption, before());
                assert_eq!((overwritten.fast_open(), overwritten.data_len()), (None, 0));
                assert!(header(&overwritten).options().ends_with(&[1; 10]), "NOPs in its place");
                let bare = through(Middlebox::StripSynData, before());
                assert_eq!(bare.data_len(), 0);
                assert_eq!(bare.fast_open().expect("the option stays").cookie.as_bytes(), COOKIE);
                let corrupted = through(Middlebox::CorruptCookie, before());
                assert_ne!(
                    corrupted.fast_open().expect("the option stays").cookie.as_bytes(),
                    COOKIE
                );
                assert_eq!(corrupted.data_len(), 4);
            }
        }
    }

    #[test]
    fn a_reset_goes_back_instead_of_the_syn() {
        let outcome = Middleboxes::new(&[Middlebox::ResetSynData])
            .pass(TO_SERVER, syn(false, &option(Standard, &COOKIE), b"data"));
        let [leaving] = &outcome.leaving[..] else { panic!("one segment leaves: {outcome:?}") };
        assert_eq!((leaving.made_by, leaving.direction), (Some("reset-syn-data"), TO_CLIENT));
        assert!(header(&leaving.segment).rst());
        assert_eq!(modifications(&outcome), ["reset-syn-data"]);
    }

    #[test]
    fn a_duplicate_follows_its_original() {
        let outcome = Middleboxes::new(&[Middlebox::DuplicateSyn])
            .pass(TO_SERVER, syn(true, &option(Standard, &COOKIE), b"data"));
        let [original, copy] = &outcome.leaving[..] else { panic!("two leave: {outcome:?}") };
        assert_eq!((original.made_by, copy.made_by), (None, Some("duplicate-syn")));
        assert_eq!(
            original.segment.clone().into_bytes(),
            copy.segment.clone().into_bytes(),
            "the same bytes"
        );
    }

    #[test]
    fn swallow_drops_only_the_flow_of_a_syn_with_data() {
        for v6 in [false, true] {
            let mut boxes = Middleboxes::new(&[Middlebox::SwallowAfterSynData]);
            let mut passes =
                |direction, segment: &Segment| boxes.pass(direction, segment.clone()).leaving.len();
            let first = syn(v6, &option(Standard, &COOKIE), b"data");
            assert_eq!(passes(TO_SERVER, &first), 1, "the SYN itself passes");
            assert_eq!(passes(TO_SERVER, &first), 1, "and so does its repetition");
            assert_eq!(passes(TO_CLIENT, &syn_ack(&first, &[])), 0);
            assert_eq!(passes(TO_SERVER, &syn(v6, &[], &[])), 0, "the kernel's SYN without data");
            let mut bytes = segment(v6, SYN, &[], &[]).into_bytes();
            let ports = bytes.len() - 20;
            bytes[ports] ^= 1;
            let other = Segment::parse(&bytes).expect("from another port");
            assert_eq!(passes(TO_SERVER, &other), 1);
            assert_eq!(passes(TO_CLIENT, &syn_ack(&other, &[])), 1);
        }
    }

    #[test]
    fn translation_gives_each_connection_a_source_and_maps_back() {
        for v6 in [false, true] {
            let mut boxes = Middleboxes::new(&[Middlebox::TranslateSource]);
            let mut seen = HashSet::new();
            for port in 0..3_u8 {
                let mut bytes = segment(v6, SYN, &[], &[]).into_bytes();
                let ports = bytes.len() - 20;
                bytes[ports + 1] = port;
                let before = Segment::parse(&bytes).expect("a SYN");
                for _ in 0..2 {
                    let outcome = boxes.pass(TO_SERVER, before.clone());
                    let arrived = outcome.leaving[0].segment.clone();
                    assert_ne!(arrived.source().ip(), before.source().ip());
                    assert_eq!(arrived.source().port(), before.source().port());
                    seen.insert(arrived.source().ip());
                    let back = boxes.pass(TO_CLIENT, syn_ack(&arrived, &[]));
                    assert_sound(&back.leaving[0].segment);
                    assert_eq!(back.leaving[0].segment.destination(), before.source());
                }
            }
            assert_eq!(
                seen.len(),
                3,
                "an address for each connection, the same for all its packets"
            );
        }
    }

    #[test]
    fn the_box_next_to_the_sender_comes_first() {
        // The translation at the client's end creates the flow that the next box swallows.
        let mut boxes =
            Middleboxes::new(&[Middlebox::TranslateSource, Middlebox::SwallowAfterSynData]);
        let first = syn(false, &option(Standard, &COOKIE), b"data");
        let arrived = boxes.pass(TO_SERVER, first).leaving.remove(0).segment;
        let outcome = boxes.pass(TO_CLIENT, syn_ack(&arrived, &[]));
        assert_eq!(modifications(&outcome), ["swallow-after-syn-data"]);
        assert!(outcome.leaving.is_empty());
        // A box does not see what the previous one removed.
        let outcome = Middleboxes::new(&[Middlebox::StripSynData, Middlebox::DropSynData])
            .pass(TO_SERVER, syn(false, &option(Standard, &COOKIE), b"data"));
        assert_eq!(modifications(&outcome), ["strip-syn-data"]);
        assert_eq!(outcome.leaving.len(), 1);
    }

    #[test]
    fn names_are_unique_and_read_back() {
        let names: HashSet<_> = Middlebox::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), Middlebox::ALL.len());
        for &middlebox in Middlebox::ALL {
            assert_eq!(middlebox.name().parse::<Middlebox>().expect("its own name"), middlebox);
            assert!(middlebox.does().len() < 80, "one line of help");
        }
        let error = "no-such-box".parse::<Middlebox>().expect_err("unknown").to_string();
        assert!(error.contains("strip-syn-option"), "what is allowed is listed: {error}");
    }

    proptest! {
        #[test]
        fn any_boxes_leave_sound_segments(
            which in proptest::collection::vec(0..Middlebox::ALL.len(), 0..6),
            order in proptest::collection::vec((any::<bool>(), 0..14_usize), 1..20),
        ) {
            let boxes: Vec<_> = which.into_iter().map(|index| Middlebox::ALL[index]).collect();
            let mut boxes = Middleboxes::new(&boxes);
            for (v6, index) in order {
                let (_, direction, segment) = traffic(v6).swap_remove(index);
                for leaving in boxes.pass(direction, segment).leaving {
                    assert_sound(&leaving.segment);
                }
            }
        }
    }
}
