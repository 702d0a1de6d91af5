//! What happens to a frame between the ends of the path: hop by hop, and box by box. No I/O and no clock.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::frame::{ETHERNET, Segment, TYPE_IPV4, TYPE_IPV6};
use super::hop::{Hop, Router, router_address};
use super::icmp::{self, IcmpError};
use super::middlebox::{Middlebox, Middleboxes, Outcome, flow};
use crate::capture::{Direction, Modification};
use crate::wire::checksum::Checksum;
use crate::wire::{IpHeader, PROTOCOL_TCP};

/// ICMP errors that a router sends at once when it limits their rate, and the time for another one.
const BURST: u32 = 6;
const REFILL: Duration = Duration::from_secs(1);

/// Where a frame enters or leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
    /// The side of a proxy that plays the server.
    ProxyServer,
    /// The side of a proxy that plays the client.
    ProxyClient,
}

/// A frame that leaves the path.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) end: End,
    pub(super) frame: Vec<u8>,
    /// The box or router that made it. `None`: a host sent it.
    pub(super) made_by: Option<&'static str>,
    /// The links that it, and the packet that caused it, crossed towards the server, and back.
    pub(super) links: [usize; 2],
}

/// What became of a frame.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Empty: it was dropped.
    pub(super) leaving: Vec<Leaving>,
    pub(super) modifications: Vec<Modification>,
}

/// The path with what its boxes and routers remember.
#[derive(Debug)]
pub(super) struct Route {
    /// In front of the first hop.
    boxes: Middleboxes,
    hops: Vec<HopState>,
}

#[derive(Debug)]
struct HopState {
    routers: Vec<RouterState>,
    per_packet: bool,
    terminates: bool,
    /// Packets so far.
    packets: usize,
}

#[derive(Debug)]
struct RouterState {
    settings: Router,
    arriving: Middleboxes,
    forwarding: Middleboxes,
    /// ICMP errors that may be sent now, and since when.
    budget: (u32, Duration),
}

/// A frame on its way.
#[derive(Debug)]
struct Moving {
    direction: Direction,
    /// The hop that it was at: 0 is the client, and one more than there are hops the server.
    at: usize,
    frame: Vec<u8>,
    made_by: Option<&'static str>,
    /// It has passed the boxes in front of the first hop.
    passed_front: bool,
    links: [usize; 2],
}

/// What a router does with a frame.
enum Ruling {
    Forward,
    Drop,
    Answer(IcmpError),
}

impl Route {
    pub(super) fn new(boxes: &[Middlebox], hops: &[Hop]) -> Self {
        Self { boxes: Middleboxes::new(boxes), hops: hops.iter().map(HopState::new).collect() }
    }

    /// Replaces the boxes in front of the first hop.
    pub(super) fn set_boxes(&mut self, boxes: &[Middlebox]) {
        self.boxes = Middleboxes::new(boxes);
    }

    /// The hop that terminates TCP.
    fn proxy(&self) -> Option<usize> {
        self.hops.iter().position(|hop| hop.terminates).map(|index| index + 1)
    }

    /// Carries a frame that enters at `end`, at this time.
    pub(super) fn carry(&mut self, end: End, frame: Vec<u8>, now: Duration) -> Carried {
        let proxy = self.proxy().unwrap_or(0);
        let (direction, at) = match end {
            End::Client => (Direction::ToServer, 0),
            End::Server => (Direction::ToClient, self.hops.len() + 1),
            End::ProxyServer => (Direction::ToClient, proxy),
            End::ProxyClient => (Direction::ToServer, proxy),
        };
        let mut carried = Carried::default();
        let first =
            Moving { direction, at, frame, made_by: None, passed_front: false, links: [0; 2] };
        let mut work = VecDeque::from([first]);
        while let Some(moving) = work.pop_front() {
            let left = self.step(moving, now, &mut work, &mut carried.modifications);
            carried.leaving.extend(left);
        }
        carried
    }

    /// Moves a frame by one hop; returns it if it leaves the path.
    fn step(
        &mut self,
        mut moving: Moving,
        now: Duration,
        work: &mut VecDeque<Moving>,
        modifications: &mut Vec<Modification>,
    ) -> Option<Leaving> {
        let to_server = moving.direction == Direction::ToServer;
        let in_front = moving.at == 0 && to_server && !moving.passed_front;
        if in_front && !self.pass_front(&mut moving, work, modifications) {
            return None;
        }
        let next = if to_server { moving.at + 1 } else { moving.at - 1 };
        moving.links[usize::from(!to_server)] += 1;
        if next == 0 {
            // What these boxes made themselves does not pass them again.
            if !moving.passed_front && !self.pass_front(&mut moving, work, modifications) {
                return None;
            }
            return Some(moving.leave(End::Client));
        }
        if next > self.hops.len() {
            return Some(moving.leave(End::Server));
        }
        moving.at = next;
        let hop = self.hops.get_mut(next - 1)?;
        if hop.terminates && is_tcp(&moving.frame) {
            let end = if to_server { End::ProxyServer } else { End::ProxyClient };
            return Some(moving.leave(end));
        }
        let branch = hop.branch(&moving);
        let router = hop.routers.get_mut(branch)?;
        match router.pass(&mut moving, work, modifications) {
            Ruling::Forward => work.push_front(moving),
            Ruling::Drop => {}
            Ruling::Answer(error) => {
                if router.may_answer(error, now) {
                    let address = router_address(next, branch, is_ipv6(&moving.frame));
                    let quote = router.settings.quote;
                    work.extend(moving.answer(address, error, quote));
                }
                if error == IcmpError::TimeExceeded {
                    let what = format!("dropped: its TTL ended at hop {next}");
                    modifications.push(Modification::new("router", what));
                }
            }
        }
        None
    }

    /// Sends a frame through the boxes in front of the first hop. `false`: it went no further.
    fn pass_front(
        &mut self,
        moving: &mut Moving,
        work: &mut VecDeque<Moving>,
        modifications: &mut Vec<Modification>,
    ) -> bool {
        match pass_boxes(&mut self.boxes, moving, work, modifications) {
            Ruling::Forward => true,
            Ruling::Drop => false,
            Ruling::Answer(error) => {
                let address = router_address(0, 0, is_ipv6(&moving.frame));
                // One link to the client, from which it has not gone yet.
                let mut answer = moving.answer(address, error, None);
                if let Some(answer) = &mut answer {
                    answer.at = 1;
                }
                work.extend(answer);
                false
            }
        }
    }
}

impl HopState {
    fn new(hop: &Hop) -> Self {
        let routers = hop.routers.iter().map(RouterState::new).collect();
        Self { routers, per_packet: hop.per_packet, terminates: hop.terminates, packets: 0 }
    }

    /// The router that a frame takes: chosen by its connection, in both directions the same.
    fn branch(&mut self, moving: &Moving) -> usize {
        let count = self.routers.len().max(1);
        self.packets += 1;
        if self.per_packet {
            return self.packets % count;
        }
        let mut hasher = DefaultHasher::new();
        match Segment::parse(&moving.frame) {
            Some(segment) => {
                // Ports alone: addresses may be translated on the way.
                let flow = flow(moving.direction, &segment);
                (flow.client.port(), flow.server.port()).hash(&mut hasher);
            }
            None => 0_u8.hash(&mut hasher),
        }
        usize::try_from(hasher.finish() % count as u64).unwrap_or(0)
    }
}

impl RouterState {
    fn new(settings: &Router) -> Self {
        Self {
            arriving: Middleboxes::new(&settings.arriving),
            forwarding: Middleboxes::new(&settings.forwarding),
            budget: (BURST, Duration::ZERO),
            settings: settings.clone(),
        }
    }

    fn pass(
        &mut self,
        moving: &mut Moving,
        work: &mut VecDeque<Moving>,
        modifications: &mut Vec<Modification>,
    ) -> Ruling {
        let to_server = moving.direction == Direction::ToServer;
        let (first, second) = if to_server {
            (&mut self.arriving, &mut self.forwarding)
        } else {
            (&mut self.forwarding, &mut self.arriving)
        };
        // On the way back the TTL is looked at first: no box is in front of it.
        if to_server {
            let ruling = pass_boxes(first, moving, work, modifications);
            if !matches!(ruling, Ruling::Forward) {
                return ruling;
            }
        }
        if !decrement_ttl(&mut moving.frame) {
            return Ruling::Answer(IcmpError::TimeExceeded);
        }
        if let Some(mtu) = self.settings.mtu
            && moving.frame.len().saturating_sub(ETHERNET) > mtu.into()
        {
            let what = format!("dropped: larger than the MTU of {mtu}");
            modifications.push(Modification::new("router", what));
            let silent = self.settings.mtu_silent;
            return if silent { Ruling::Drop } else { Ruling::Answer(IcmpError::TooBig(mtu)) };
        }
        if !to_server {
            let ruling = pass_boxes(first, moving, work, modifications);
            if !matches!(ruling, Ruling::Forward) {
                return ruling;
            }
        }
        pass_boxes(second, moving, work, modifications)
    }

    /// Whether an ICMP error may be sent now. What boxes and links with a small MTU owe is not limited.
    fn may_answer(&mut self, error: IcmpError, now: Duration) -> bool {
        if error != IcmpError::TimeExceeded {
            return true;
        }
        if self.settings.silent {
            return false;
        }
        if !self.settings.rate_limited {
            return true;
        }
        let (left, since) = &mut self.budget;
        let refilled = now.saturating_sub(*since).as_millis() / REFILL.as_millis();
        let refilled = u32::try_from(refilled).unwrap_or(u32::MAX);
        if left.saturating_add(refilled) >= BURST {
            (*left, *since) = (BURST, now);
        } else {
            *left += refilled;
            *since += REFILL * refilled;
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }
}

impl Moving {
    fn leave(self, end: End) -> Leaving {
        Leaving { end, frame: self.frame, made_by: self.made_by, links: self.links }
    }

    /// A frame that goes back from here.
    fn back(&self, frame: Vec<u8>, direction: Direction, by: &'static str) -> Self {
        Self {
            direction,
            at: self.at,
            frame,
            made_by: Some(by),
            passed_front: self.at == 0,
            links: self.links,
        }
    }

    fn answer(
        &self,
        router: std::net::IpAddr,
        error: IcmpError,
        quote: Option<usize>,
    ) -> Option<Self> {
        let frame = icmp::answer(&self.frame, router, error, quote)?;
        Some(self.back(frame, self.direction.reverse(), "router"))
    }
}

/// Sends a frame through boxes. What they make of it is left in `moving`, and what else they send in `work`.
fn pass_boxes(
    boxes: &mut Middleboxes,
    moving: &mut Moving,
    work: &mut VecDeque<Moving>,
    modifications: &mut Vec<Modification>,
) -> Ruling {
    if boxes.is_empty() {
        return Ruling::Forward;
    }
    let Some(segment) = Segment::parse(&moving.frame) else {
        if moving.direction == Direction::ToClient
            && let Some((source, _)) = icmp::quoted(&moving.frame)
            && let Some(client) = boxes.client_of(&source)
        {
            icmp::translate_back(&mut moving.frame, client);
        }
        return Ruling::Forward;
    };
    let Outcome { leaving, prohibited, modifications: made } =
        boxes.pass(moving.direction, segment);
    modifications.extend(made);
    if prohibited {
        return Ruling::Answer(IcmpError::Prohibited);
    }
    let mut ruling = Ruling::Drop;
    for leaving in leaving {
        let frame = leaving.segment.into_bytes();
        if let Some(by) = leaving.made_by {
            let mut extra = moving.back(frame, leaving.direction, by);
            // Boxes in front of the first hop send to the client without a hop between.
            if extra.at == 0 && leaving.direction == Direction::ToClient {
                extra.at = 1;
            }
            work.push_back(extra);
        } else {
            moving.frame = frame;
            ruling = Ruling::Forward;
        }
    }
    ruling
}

fn is_ipv6(frame: &[u8]) -> bool {
    frame.get(ETHERNET - 2..ETHERNET) == Some(&TYPE_IPV6)
}

fn is_tcp(frame: &[u8]) -> bool {
    let packet = frame.get(ETHERNET..).unwrap_or_default();
    IpHeader::parse(packet).is_ok_and(|ip| ip.protocol() == PROTOCOL_TCP)
        || icmp::quoted(frame).is_some()
}

/// Takes one from the TTL or hop limit of a packet. `false`: it ends here. Anything else than a packet passes.
fn decrement_ttl(frame: &mut [u8]) -> bool {
    let v6 = is_ipv6(frame);
    let v4 = frame.get(ETHERNET - 2..ETHERNET) == Some(&TYPE_IPV4);
    let Some(ttl) = frame.get_mut(ETHERNET + if v6 { 7 } else { 8 }).filter(|_| v4 || v6) else {
        return true;
    };
    if *ttl <= 1 {
        return false;
    }
    *ttl -= 1;
    if v4 {
        let words = frame.get(ETHERNET).map_or(0, |first| usize::from(first & 0x0f) * 4);
        if let Some(header) = frame.get_mut(ETHERNET..ETHERNET + words).filter(|it| it.len() >= 20)
        {
            header[10..12].fill(0);
            let sum = Checksum::default().add(header).finish();
            header[10..12].copy_from_slice(&sum);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::super::frame::sample::{BEFORE, COOKIE, SYN, assert_sound, option, segment};
    use super::super::hop::{HopRule, hops};
    use super::*;
    use crate::wire::FastOpenKind::Standard;

    fn route(count: usize, rules: &[&str]) -> Route {
        let rules: Vec<HopRule> = rules.iter().map(|rule| rule.parse().expect(rule)).collect();
        Route::new(&[], &hops(count, &rules).expect("hops"))
    }

    /// A SYN with a cookie and four bytes, and this TTL.
    fn syn(v6: bool, ttl: u8) -> Vec<u8> {
        let options = [&BEFORE[..], &option(Standard, &COOKIE)].concat();
        let mut frame = segment(v6, SYN, &options, b"data").into_bytes();
        frame[ETHERNET + if v6 { 7 } else { 8 }] = ttl + 1;
        assert!(decrement_ttl(&mut frame), "makes the checksum right");
        frame
    }

    fn now() -> Duration {
        Duration::from_secs(100)
    }

    fn source(frame: &[u8]) -> IpAddr {
        IpHeader::parse(&frame[ETHERNET..]).expect("a packet").source()
    }

    fn quote(frame: &[u8]) -> Vec<u8> {
        let inner = frame[ETHERNET] >> 4 == 6;
        frame[ETHERNET + if inner { 40 + 8 } else { 20 + 8 }..].to_vec()
    }

    #[test]
    fn each_ttl_is_answered_by_its_hop() {
        for v6 in [false, true] {
            for ttl in 1..=5 {
                let carried = route(4, &[]).carry(End::Client, syn(v6, ttl), now());
                let [leaving] = &carried.leaving[..] else { panic!("one frame: {carried:?}") };
                let hop = usize::from(ttl);
                if ttl == 5 {
                    assert_eq!((leaving.end, leaving.links), (End::Server, [5, 0]));
                    assert_sound(&Segment::parse(&leaving.frame).expect("a segment"));
                } else {
                    assert_eq!((leaving.end, leaving.links), (End::Client, [hop, hop]));
                    assert_eq!(source(&leaving.frame), router_address(hop, 0, v6));
                    assert!(leaving.made_by.is_some());
                }
            }
        }
    }

    #[test]
    fn a_box_is_seen_by_the_hop_behind_or_where_it_arrives() {
        for v6 in [false, true] {
            for (rule, first) in [("2:strip-syn-data", 3), ("2:arriving=strip-syn-data", 2)] {
                for ttl in 1..=4 {
                    let carried = route(4, &[rule]).carry(End::Client, syn(v6, ttl), now());
                    let has_data = quote(&carried.leaving[0].frame).ends_with(b"data");
                    assert_eq!(has_data, ttl < first, "{rule}, TTL {ttl}");
                }
            }
        }
    }

    #[test]
    fn what_a_box_answers_comes_from_its_hop() {
        for v6 in [false, true] {
            for ttl in [3, 4] {
                let rules = ["3:arriving=reset-syn-data"];
                let carried = route(4, &rules).carry(End::Client, syn(v6, ttl), now());
                let [leaving] = &carried.leaving[..] else { panic!("one frame: {carried:?}") };
                assert_eq!((leaving.end, leaving.links), (End::Client, [3, 3]));
                assert!(Segment::parse(&leaving.frame).is_some(), "a reset");
                let rules = ["2:prohibit-syn-data"];
                let carried = route(4, &rules).carry(End::Client, syn(v6, ttl), now());
                assert_eq!(source(&carried.leaving[0].frame), router_address(2, 0, v6));
            }
        }
    }

    #[test]
    fn small_mtu_is_told_or_not() {
        let mut frame = segment(false, SYN, &BEFORE, &[0; 1000]).into_bytes();
        frame[ETHERNET + 8] = 9;
        assert!(decrement_ttl(&mut frame));
        let carried = route(2, &["2:mtu=600"]).carry(End::Client, frame.clone(), now());
        assert_eq!(source(&carried.leaving[0].frame), router_address(2, 0, false));
        let carried = route(2, &["2:mtu-silent=600"]).carry(End::Client, frame, now());
        assert!(carried.leaving.is_empty());
    }

    #[test]
    fn rate_limit_is_six_at_once_then_one_a_second() {
        let mut route = route(1, &["1:rate-limit"]);
        let mut answers = |at: Duration| {
            (0..10)
                .map(|_| route.carry(End::Client, syn(false, 1), at).leaving.len())
                .sum::<usize>()
        };
        assert_eq!(answers(now()), 6);
        assert_eq!(answers(now() + REFILL / 2), 0);
        assert_eq!(answers(now() + REFILL), 1);
        assert_eq!(answers(now() + REFILL * 3), 2);
        assert_eq!(answers(now() + REFILL * 60), 6);
    }

    #[test]
    fn errors_from_behind_a_translation_find_back() {
        for v6 in [false, true] {
            let frame = syn(v6, 3);
            let client = source(&frame);
            let mut route = route(3, &["1:translate-source"]);
            let carried = route.carry(End::Client, frame, now());
            let [leaving] = &carried.leaving[..] else { panic!("one frame: {carried:?}") };
            let ip = IpHeader::parse(&leaving.frame[ETHERNET..]).expect("a packet");
            assert_eq!(ip.destination(), client);
            let (quoted, _) = icmp::quoted(&leaving.frame).expect("a segment");
            assert_eq!(quoted, SocketAddr::new(client, 40_000));
        }
    }

    #[test]
    fn packets_alternate_between_branches_and_connections_do_not() {
        let seen = |rules: &[&str]| {
            let mut route = route(2, rules);
            let mut addresses: Vec<IpAddr> = (0..8)
                .map(|_| source(&route.carry(End::Client, syn(false, 2), now()).leaving[0].frame))
                .collect();
            addresses.sort();
            addresses.dedup();
            addresses.len()
        };
        assert_eq!(seen(&["2:branches=2"]), 1);
        assert_eq!(seen(&["2:branches=2", "2:per-packet"]), 2);
    }

    #[test]
    fn proxy_takes_tcp_whatever_its_ttl_and_lets_the_rest_pass() {
        let mut route = route(3, &["2:proxy"]);
        let carried = route.carry(End::Client, syn(false, 2), now());
        assert_eq!(carried.leaving[0].end, End::ProxyServer);
        assert_eq!(route.carry(End::Client, syn(false, 1), now()).leaving[0].end, End::Client);
        let carried = route.carry(End::ProxyClient, syn(false, 1), now());
        assert_eq!(carried.leaving[0].end, End::ProxyClient, "an ICMP error about its segment");
        assert_eq!(route.carry(End::ProxyClient, syn(false, 9), now()).leaving[0].end, End::Server);
        let mut datagram = syn(false, 3);
        datagram[ETHERNET + 9] = 17;
        let carried = route.carry(End::Client, datagram, now());
        assert_eq!(source(&carried.leaving[0].frame), router_address(3, 0, false));
    }
}
