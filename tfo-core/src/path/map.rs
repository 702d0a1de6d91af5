//! What is known of a path: all samples, by hop and kind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::reading::{self, Change, Context, Matter, Reading, SentSyn};
use super::{Reply, Sample, SynKind};

/// The most bytes of data in a SYN that does not test the MTU.
pub const SMALL: usize = 64;

/// All samples of a path.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PathMap {
    /// Where the SYNs went.
    pub target: SocketAddr,
    /// Where they came from; each sample has its own port.
    pub local: SocketAddr,
    /// What each kind looked like when it left.
    pub sent: BTreeMap<SynKind, SentSyn>,
    /// In the order in which they were sent.
    pub samples: Vec<Sample>,
    /// Neither the first hops nor the last ones answer by ICMP.
    pub without_icmp: bool,
    /// A hop behind which nothing passes any more from a port once a SYN with data has passed from it: the hop in front of
    /// it, and the hop itself.
    pub flow_dropped: Option<(u8, u8)>,
    /// The distance by datagrams, where that of TCP was compared with it.
    pub datagram_distance: Option<u8>,
    /// It ended before it was complete.
    pub interrupted: bool,
}

/// How many SYNs of a kind arrived at a hop, and how many were sent there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u32,
    pub(super) tried: u32,
}

impl Count {
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.tried += other.tried;
    }
}

impl PathMap {
    /// An empty map.
    #[must_use]
    pub fn new(local: SocketAddr, target: SocketAddr) -> Self {
        Self {
            target,
            local,
            sent: BTreeMap::new(),
            samples: Vec::new(),
            without_icmp: false,
            flow_dropped: None,
            datagram_distance: None,
            interrupted: false,
        }
    }

    /// The smallest TTL at which a regular SYN was answered by TCP: the distance of the target, or of somebody who answers in
    /// its name.
    #[must_use]
    pub fn distance(&self) -> Option<u8> {
        let regular = self.samples.iter().filter(|sample| sample.shot.kind == SynKind::Plain);
        regular.filter(|sample| sample.is_tcp()).map(|sample| sample.shot.ttl).min()
    }

    /// The largest TTL that a SYN with data may have: it ends in front of everybody who answered a regular SYN by TCP,
    /// and, where nobody did, at a hop that is known to end it.
    #[must_use]
    pub fn data_limit(&self) -> u8 {
        self.distance().map_or_else(
            || self.hops().last().copied().unwrap_or(0),
            |distance| distance.saturating_sub(1),
        )
    }

    /// The hops that answered a regular SYN by ICMP.
    #[must_use]
    pub fn hops(&self) -> Vec<u8> {
        let hops: BTreeSet<u8> = self
            .regular()
            .filter(|sample| sample.arrived())
            .map(|sample| sample.shot.ttl)
            .collect();
        hops.into_iter().collect()
    }

    /// The last hop that a SYN was sent to.
    #[must_use]
    pub fn last_tried(&self) -> u8 {
        self.samples.iter().map(|sample| sample.shot.ttl).max().unwrap_or(0)
    }

    /// The addresses that answered at a hop.
    #[must_use]
    pub fn addresses(&self, hop: u8) -> Vec<IpAddr> {
        let at = self.samples.iter().filter(|sample| sample.shot.ttl == hop && sample.arrived());
        let found: BTreeSet<IpAddr> =
            at.filter_map(|sample| sample.icmp().and_then(|icmp| icmp.from)).collect();
        found.into_iter().collect()
    }

    /// The first hop at which different routers answered.
    #[must_use]
    pub fn first_unstable_hop(&self) -> Option<u8> {
        (1..=self.last_tried()).find(|hop| self.addresses(*hop).len() > 1)
    }

    /// The shortest time until a hop answered.
    #[must_use]
    pub fn round_trip(&self, hop: u8) -> Option<Duration> {
        let at =
            self.samples.iter().filter(|sample| sample.shot.ttl == hop && !sample.retransmitted);
        at.filter(|sample| sample.arrived() || sample.is_tcp()).map(|sample| sample.after).min()
    }

    /// The hop that an address answers for.
    #[must_use]
    pub fn hop_of(&self, address: IpAddr) -> Option<u8> {
        (1..=self.last_tried()).find(|hop| self.addresses(*hop).contains(&address))
    }

    /// Returns what is known of one kind at one hop, in one word each: the samples that show it, and all samples.
    #[must_use]
    pub fn cell(&self, hop: u8, kind: SynKind) -> Cell {
        let count = self.count(kind, hop);
        let at = || self.of(kind).filter(move |sample| sample.shot.ttl == hop);
        let changes: BTreeSet<Change> = at()
            .filter_map(|sample| self.read(sample))
            .flat_map(|reading| reading.changes)
            .collect();
        let unseen = at().filter(|sample| sample.arrived()).any(|sample| {
            let reading = self.read(sample).unwrap_or_default();
            let shows =
                |matter| reading.change_of(matter).is_some() || reading.unchanged.contains(&matter);
            (kind.has_option() && !shows(Matter::Option))
                || (kind.has_data() && !shows(Matter::Data))
        });
        let replied = |wanted: fn(&Reply) -> bool| at().any(|sample| wanted(&sample.reply));
        Cell {
            passed: count.passed,
            tried: count.tried,
            changes: changes.into_iter().collect(),
            unseen,
            reset: replied(|reply| matches!(reply, Reply::Reset)),
            syn_ack: replied(|reply| matches!(reply, Reply::SynAck)),
            refused: at()
                .find_map(|sample| sample.icmp().filter(|_| !sample.arrived()))
                .and_then(|icmp| icmp.from),
        }
    }

    /// The regular SYNs that were sent as such.
    fn regular(&self) -> impl Iterator<Item = &Sample> {
        self.of(SynKind::Plain)
    }

    /// The samples of a kind, without retransmissions and without large data: those of the first port. What came from others may
    /// have gone another way.
    pub(super) fn of(&self, kind: SynKind) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| {
            sample.shot.kind == kind
                && sample.port == self.local.port()
                && !sample.retransmitted
                && sample.shot.data <= SMALL
        })
    }

    pub(super) fn count(&self, kind: SynKind, hop: u8) -> Count {
        let mut count = Count::default();
        for sample in self.of(kind).filter(|sample| sample.shot.ttl == hop) {
            count.add(Count { passed: sample.arrived().into(), tried: 1 });
        }
        count
    }

    /// The counts of a kind at all hops from this one on at which regular SYNs arrived.
    pub(super) fn count_from(&self, kind: SynKind, hop: u8) -> Count {
        let mut count = Count::default();
        for at in self.hops().into_iter().filter(|at| *at >= hop) {
            count.add(self.count(kind, at));
        }
        count
    }

    /// The last hop at which a SYN of this kind arrived; 0 if none did.
    pub(super) fn last_passed(&self, kind: SynKind) -> u8 {
        let arrived = self.of(kind).filter(|sample| sample.arrived());
        arrived.map(|sample| sample.shot.ttl).max().unwrap_or(0)
    }

    /// Notes with which number the option left, where the kernel chose it: as the first hop that quotes it has it.
    pub(super) fn note_option(&mut self, kind: SynKind) {
        let known = self.sent.get(&kind).is_none_or(|sent| sent.option.is_some());
        if known || !kind.has_option() {
            return;
        }
        let readings = self.readings(kind, Matter::Option);
        let number = match readings.first() {
            Some((_, Some(Change::OptionRenumbered))) => 254,
            Some((_, None)) => 34,
            _ => return,
        };
        if let Some(sent) = self.sent.get_mut(&kind) {
            sent.option = Some(number);
        }
    }

    /// What the quote of a sample shows.
    pub(super) fn read(&self, sample: &Sample) -> Option<Reading> {
        let icmp = sample.icmp()?;
        let default = SentSyn::default();
        let kind = sample.shot.kind;
        let sent = self.sent.get(&kind).unwrap_or(&default);
        let local = SocketAddr::new(self.local.ip(), sample.port);
        let (data, remote) = (sample.shot.data, self.target);
        let read = |longest| {
            reading::read(
                &icmp.quote,
                &Context { kind, sent, mss: sample.mss, data, local, remote, longest },
            )
        };
        let reading = read(self.longest_quote(icmp.from))?;
        let shows_data =
            reading.change_of(Matter::Data).is_some() || reading.unchanged.contains(&Matter::Data);
        // A quote that ends with the header may be cut there; where the same router shows that the data of SYNs without option
        // is gone, it is not.
        if kind == SynKind::CookieAndData && !shows_data && self.shows_data_removed(sample) {
            let mut inferred = read(usize::MAX)?;
            // The checksum is that of more than is quoted if it is cut all the same.
            inferred.changes.retain(|change| change.matter() != Matter::Address);
            return Some(inferred);
        }
        Some(reading)
    }

    /// Whether the router that answered this SYN has shown that data of SYNs without option is gone, on the same way.
    fn shows_data_removed(&self, like: &Sample) -> bool {
        let from = |sample: &Sample| sample.icmp().map(|icmp| icmp.from);
        let mut of_router = self
            .of(SynKind::Data)
            .filter(|sample| sample.port == like.port && from(sample) == from(like));
        of_router.any(|sample| {
            let change = self.read(sample).and_then(|reading| reading.change_of(Matter::Data));
            change == Some(Change::DataRemoved)
        })
    }

    fn longest_quote(&self, from: Option<IpAddr>) -> usize {
        let icmp = self.samples.iter().filter_map(Sample::icmp);
        icmp.filter(|icmp| icmp.from == from).map(|icmp| icmp.quote.len()).max().unwrap_or(0)
    }

    /// The readings of a kind that show something of a matter, with their hops, from the first hop on.
    pub(super) fn readings(&self, kind: SynKind, matter: Matter) -> Vec<(u8, Option<Change>)> {
        let mut found: Vec<(u8, Option<Change>)> = self
            .of(kind)
            .filter(|sample| sample.arrived())
            .filter_map(|sample| {
                let reading = self.read(sample)?;
                let change = reading.change_of(matter);
                let shows = change.is_some() || reading.unchanged.contains(&matter);
                shows.then_some((sample.shot.ttl, change))
            })
            .collect();
        found.sort_by_key(|(hop, _)| *hop);
        found
    }
}

/// A cell of the map: what is known of one kind of SYN at one hop.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cell {
    /// How many arrived there.
    pub passed: u32,
    /// How many were sent there.
    pub tried: u32,
    /// What was changed on the way there.
    pub changes: Vec<Change>,
    /// What arrived was quoted too short to show whether option and data were changed.
    pub unseen: bool,
    /// A reset came back.
    pub reset: bool,
    /// A SYN-ACK came back.
    pub syn_ack: bool,
    /// An ICMP error other than that the TTL had ended came back, from this address.
    pub refused: Option<IpAddr>,
}
