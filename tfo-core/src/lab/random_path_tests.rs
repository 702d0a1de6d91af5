//! Surveys of random paths, packet by packet, without a kernel: whatever hops, boxes and quotes there are, a fault that is
//! found lies where its box is.

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use super::Middlebox;
use super::frame::sample::{BEFORE, COOKIE, SYN, option, segment};
use super::frame::{ETHERNET, Segment};
use super::hop::{HopProperty, HopRule, hops};
use super::route::{End, Route};
use crate::Result;
use crate::cookie::FastOpenCookie;
use crate::path::{
    Fault, FaultKind, IcmpError, IcmpReply, PathMap, Plan, Prober, Reply, Sample, SentSyn, Shot,
    SynKind, conclude, locate, survey,
};
use crate::wire::{FastOpenKind::Standard, IpHeader};

/// The kernel sends a SYN again after this.
const RETRANSMISSION: Duration = Duration::from_secs(1);

/// A path of the lab, and a clock that only this prober moves.
struct Simulation {
    route: Route,
    v6: bool,
    port: u16,
    now: Duration,
    /// Packets that get lost by chance.
    loss: f64,
    chance: fastrand::Rng,
    /// SYNs with data that came to somebody who answers by TCP.
    delivered: usize,
    shots: usize,
}

impl Simulation {
    fn new(route: Route, v6: bool) -> Self {
        Self {
            route,
            v6,
            port: 40_000,
            now: Duration::from_secs(1000),
            loss: 0.0,
            chance: fastrand::Rng::with_seed(1),
            delivered: 0,
            shots: 0,
        }
    }

    fn frame(&self, kind: SynKind, ttl: u8, data: usize) -> Vec<u8> {
        let option = match kind {
            SynKind::Plain | SynKind::Data => Vec::new(),
            SynKind::Request => option(Standard, &[]),
            SynKind::Cookie | SynKind::CookieAndData => option(Standard, &COOKIE),
        };
        let data: Vec<u8> = b"tfo-path ".iter().copied().cycle().take(data).collect();
        let mut bytes = segment(self.v6, SYN, &[&BEFORE[..], &option].concat(), &data).into_bytes();
        bytes[ETHERNET + if self.v6 { 7 } else { 8 }] = ttl;
        let ports = bytes.len() - data.len() - option.len() - BEFORE.len() - 20;
        bytes[ports..ports + 2].copy_from_slice(&self.port.to_be_bytes());
        let mut segment = Segment::parse(&bytes).expect("a segment");
        let source = segment.source().ip();
        // Makes the checksums right.
        segment.set_source(source);
        segment.into_bytes()
    }

    fn send(&mut self, shot: Shot) -> (Reply, Duration) {
        self.shots += 1;
        let silence = (Reply::Silence, shot.wait);
        if self.chance.f64() < self.loss {
            return silence;
        }
        let frame = self.frame(shot.kind, shot.ttl, shot.data);
        let carried = self.route.carry(End::Client, frame, self.now);
        for leaving in carried.leaving {
            let after = Duration::from_millis(leaving.links.iter().sum::<usize>() as u64);
            match leaving.end {
                End::Client => {
                    if self.chance.f64() < self.loss {
                        return silence;
                    }
                    let reply = if Segment::parse(&leaving.frame).is_some() {
                        Reply::Reset
                    } else {
                        Reply::Icmp(self.icmp(&leaving.frame))
                    };
                    return (reply, after);
                }
                End::Server | End::ProxyServer => {
                    self.delivered += usize::from(shot.kind.has_data());
                    return (Reply::SynAck, after * 2);
                }
                End::ProxyClient => {}
            }
        }
        silence
    }

    fn icmp(&self, frame: &[u8]) -> IcmpReply {
        let outer = IpHeader::parse(&frame[ETHERNET..]).expect("a packet");
        let message = outer.payload();
        let info = u32::from_be_bytes(*message[4..].first_chunk().expect("a word"));
        let error = IcmpError::new(self.v6, message[0], message[1], info);
        let inner = &message[8..];
        let header = if self.v6 { 40 } else { 20 };
        IcmpReply::new(Some(outer.source()), error, inner[header..].to_vec())
    }
}

impl Prober for Simulation {
    fn shoot(&mut self, shot: Shot) -> Result<Vec<Sample>> {
        let (reply, after) = self.send(shot);
        let mut samples = vec![Sample::new(shot, reply, after, self.port)];
        if samples[0].reply == Reply::Silence && shot.wait > RETRANSMISSION {
            self.now += RETRANSMISSION;
            let rest = Shot {
                kind: SynKind::Plain,
                data: 0,
                wait: shot.wait.saturating_sub(RETRANSMISSION),
                ..shot
            };
            let (reply, after) = self.send(rest);
            samples.push(Sample::of_retransmission(shot, reply, after, self.port));
        }
        for sample in &mut samples {
            sample.mss = Some(1460);
        }
        self.now += samples.iter().map(|sample| sample.after).sum::<Duration>();
        Ok(samples)
    }

    fn pause(&mut self, time: Duration) {
        self.now += time;
    }

    fn change_port(&mut self) -> Result<()> {
        self.port += 1;
        Ok(())
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn use_port(&mut self, port: u16) {
        self.port = port;
    }

    fn sent(&self, _kind: SynKind) -> SentSyn {
        let cookie = FastOpenCookie::new(&COOKIE).ok();
        let mut sent = SentSyn::default();
        (sent.cookie, sent.others) = (cookie, Some([true; 3]));
        sent.option = Some(34);
        sent
    }
}

/// A path, and what is on it.
struct Case {
    v6: bool,
    hops: usize,
    rules: Vec<HopRule>,
    /// Where each box is, in half hops: 2 × 3 - 1 where packets arrive at hop 3, 2 × 3 + 1 where it forwards.
    boxes: Vec<(Middlebox, usize)>,
    /// The place of a link that large data does not fit.
    small_link: Option<usize>,
    /// The hop that terminates TCP.
    proxy: Option<usize>,
    loss: f64,
    /// All hops answer at once and quote everything, and each packet takes the same way.
    ideal: bool,
}

/// What a box may be found to do.
fn shows(middlebox: Middlebox) -> &'static [FaultKind] {
    match middlebox {
        Middlebox::StripSynOption | Middlebox::StripSynOption34 => &[FaultKind::OptionOverwritten],
        Middlebox::RemoveSynOption => &[FaultKind::OptionRemoved],
        Middlebox::RenumberSynOption => &[FaultKind::OptionRenumbered],
        Middlebox::OverwriteOption => &[FaultKind::OptionOverwritten, FaultKind::DataRemoved],
        Middlebox::DropSynData | Middlebox::DropSynOption => &[FaultKind::Dropped],
        Middlebox::StripSynData => &[FaultKind::DataRemoved],
        Middlebox::ResetSynData => &[FaultKind::Reset],
        Middlebox::ProhibitSynData => &[FaultKind::Prohibited],
        Middlebox::SwallowAfterSynData => &[FaultKind::FlowDropped],
        Middlebox::CorruptCookie => &[FaultKind::CookieChanged],
        Middlebox::TranslateSource => &[FaultKind::AddressChanged],
        Middlebox::ClampMss => &[FaultKind::MssChanged],
        Middlebox::StripSackPermitted => &[FaultKind::OptionLost],
        _ => &[],
    }
}

const BOXES: [Middlebox; 14] = [
    Middlebox::StripSynOption,
    Middlebox::StripSynOption34,
    Middlebox::RemoveSynOption,
    Middlebox::RenumberSynOption,
    Middlebox::OverwriteOption,
    Middlebox::DropSynData,
    Middlebox::DropSynOption,
    Middlebox::StripSynData,
    Middlebox::ResetSynData,
    Middlebox::ProhibitSynData,
    Middlebox::CorruptCookie,
    Middlebox::ClampMss,
    Middlebox::StripSackPermitted,
    Middlebox::SwallowAfterSynData,
];

impl Case {
    fn new(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let hops = chance.usize(1..=12);
        let ideal = chance.u8(0..3) == 0;
        let mut case = Self {
            v6: chance.bool(),
            hops,
            rules: Vec::new(),
            boxes: Vec::new(),
            small_link: None,
            proxy: None,
            loss: if ideal { 0.0 } else { [0.0, 0.0, 0.01, 0.03][chance.usize(0..4)] },
            ideal,
        };
        if !ideal {
            case.vary_hops(&mut chance);
        }
        let count = [1, 1, 1, 2, 0][chance.usize(0..5)];
        for _ in 0..count {
            case.add_box(BOXES[chance.usize(0..BOXES.len())], &mut chance);
        }
        if !ideal && chance.u8(0..5) == 0 {
            case.add_box(Middlebox::TranslateSource, &mut chance);
        }
        match chance.u8(0..8) {
            0 => {
                let hop = chance.usize(1..=hops);
                let told = chance.bool();
                let mtu = chance.u16(300..1400);
                let property =
                    if told { HopProperty::Mtu(mtu) } else { HopProperty::MtuSilent(mtu) };
                case.rules.push(HopRule::new(hop, property));
                case.small_link = Some(2 * hop + 1);
            }
            1 => {
                let hop = chance.usize(1..=hops);
                case.rules.push(HopRule::new(hop, HopProperty::Proxy));
                case.proxy = Some(hop);
            }
            _ => {}
        }
        case
    }

    fn vary_hops(&mut self, chance: &mut fastrand::Rng) {
        for hop in 1..=self.hops {
            let mut add = |property| self.rules.push(HopRule::new(hop, property));
            match chance.u8(0..12) {
                0 | 1 => add(HopProperty::Silent),
                2 => add(HopProperty::RateLimit),
                3..=5 => {
                    let lengths = [8, 20, 28, 40, 44, 52, 60, 90];
                    add(HopProperty::Quote(lengths[chance.usize(0..lengths.len())]));
                }
                6 => {
                    add(HopProperty::Branches(2));
                    if chance.bool() {
                        add(HopProperty::PerPacket);
                    }
                }
                _ => {}
            }
        }
    }

    fn add_box(&mut self, middlebox: Middlebox, chance: &mut fastrand::Rng) {
        let hop = chance.usize(1..=self.hops);
        let (property, place) = if chance.bool() {
            (HopProperty::Box(middlebox), 2 * hop + 1)
        } else {
            (HopProperty::ArrivingBox(middlebox), 2 * hop - 1)
        };
        let rule = if !self.ideal && chance.u8(0..4) == 0 {
            HopRule::of_branch(hop, chance.usize(0..2), property)
        } else {
            HopRule::new(hop, property)
        };
        self.rules.push(rule);
        self.boxes.push((middlebox, place));
    }

    fn survey(&self) -> (PathMap, Simulation) {
        let hops = hops(self.hops, &self.rules).expect("a path");
        let mut simulation = Simulation::new(Route::new(&[], &hops), self.v6);
        (simulation.loss, simulation.chance) = (self.loss, fastrand::Rng::with_seed(7));
        let ip = |last: u16| {
            if self.v6 {
                std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
            } else {
                std::net::Ipv4Addr::new(192, 0, 2, u8::try_from(last).expect("small")).into()
            }
        };
        let mut map = PathMap::new(SocketAddr::new(ip(1), 40_000), SocketAddr::new(ip(2), 2222));
        let kinds = vec![SynKind::Request, SynKind::Cookie, SynKind::CookieAndData, SynKind::Data];
        let plan = Plan::new(kinds).round_trip(Some(Duration::from_millis(40))).large(Some(1400));
        survey(&mut simulation, &plan, &mut map, &mut |_, _, _| true).expect("it can send");
        // Datagrams go all the way.
        map.datagram_distance = u8::try_from(self.hops + 1).ok();
        (map, simulation)
    }

    /// Whether a box of the path explains a fault.
    fn explains(&self, fault: &Fault) -> bool {
        let inside = |place: usize| {
            2 * usize::from(fault.after_hop) < place && place < 2 * usize::from(fault.before_hop)
        };
        self.boxes.iter().any(|(it, place)| shows(*it).contains(&fault.kind) && inside(*place))
            || (fault.kind == FaultKind::TooLarge && self.small_link.is_some_and(inside))
    }

    /// What is on the path, if that is one thing that hops can show: its name, its place, and what it may be found to do.
    fn only_fault(&self) -> Option<(&'static str, usize, &'static [FaultKind])> {
        let (name, place, kinds) = match (&self.boxes[..], self.small_link, self.proxy) {
            ([(only, place)], None, None) => (only.name(), *place, shows(*only)),
            ([], Some(place), None) => ("mtu", place, &[FaultKind::TooLarge][..]),
            _ => return None,
        };
        // What forwards at the last hop is behind all that answer.
        (place < 2 * self.hops).then_some((name, place, kinds))
    }

    fn in_words(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(ToString::to_string).collect();
        format!("{} hops, IPv6 {}, loss {}: {}", self.hops, self.v6, self.loss, rules.join(" "))
    }
}

#[test]
fn random_paths_are_blamed_only_where_their_boxes_are() {
    let paths =
        env::var("TFO_RANDOM_PATHS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000);
    let mut wrong = Vec::new();
    let (mut widths, mut with_box, mut found, mut shots) = (Vec::new(), 0, 0, 0);
    let mut missed: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..paths {
        let case = Case::new(seed);
        let (map, simulation) = case.survey();
        assert_eq!(simulation.delivered, 0, "data came to the target: {}", case.in_words());
        shots += simulation.shots;
        let faults = locate(&map);
        for fault in &faults {
            if !case.explains(fault) {
                wrong.push(format!("seed {seed}, {}: {fault:?}", case.in_words()));
            }
        }
        let proxy = conclude(&map, &[]).proxy.map(usize::from);
        if proxy != case.proxy {
            wrong.push(format!("seed {seed}, {}: proxy {proxy:?}", case.in_words()));
        }
        if case.ideal
            && let Some((name, _, kinds)) = case.only_fault()
        {
            with_box += 1;
            let of_box = faults.iter().filter(|fault| kinds.contains(&fault.kind));
            let of_box: Vec<&Fault> = of_box.collect();
            if of_box.is_empty() {
                *missed.entry(name).or_default() += 1;
            } else {
                found += 1;
            }
            widths.extend(of_box.iter().map(|fault| fault.before_hop - fault.after_hop));
        }
    }
    widths.sort_unstable();
    let median = widths.get(widths.len() / 2).copied().unwrap_or(0);
    println!(
        "\nMEASURED: {paths} random paths, {} intervals without their box; where all hops quote fully: {found} of {with_box} \
         boxes found, median width {median}, widest {:?}; {shots} SYNs; missed {missed:?}",
        wrong.len(),
        widths.last()
    );
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(12)].join("\n")
    );
    assert!(median <= 1, "{widths:?}");
    assert_eq!(found, with_box, "missed: {missed:?}");
}
