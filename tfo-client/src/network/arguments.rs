#![allow(rustdoc::broken_intra_doc_links, reason = "the comments are the help that users read")]

use std::{str::FromStr, time::Duration};

use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use tfo_core::{
    cli::{Expected, Integer, Period},
    lab::{self, HopRule, Middlebox},
};

use super::served::NetworkSettings;
use crate::output::Failure;

/// Number of servers behind one address.
type Servers = Integer<1, 16>;
/// Number of routers on the path.
type Hops = Integer<0, 30>;
/// A delay on the path.
type PathTime = Period<0, 10_000>;

/// The flags of the lab's network, shared by the commands that run in it.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct NetworkFlags {
    /// Round trip time of the path, 0ms to 10s [default: 40ms]
    #[arg(long, value_name = "TIME")]
    rtt: Option<PathTime>,

    /// Maximum random delay added to each packet, 0ms to 10s [default: 0ms]
    #[arg(long, value_name = "TIME")]
    jitter: Option<PathTime>,

    /// Share of packets that the path drops, 0% to 100% [default: 0%]
    #[arg(long, value_name = "SHARE")]
    loss: Option<Share>,

    /// Add a middlebox to the path; may be given several times
    #[arg(long = "box", value_name = "NAME", value_parser = middlebox())]
    boxes: Vec<Middlebox>,

    /// Number of routers on the path, each of which decrements the TTL and answers by ICMP, 0 to 30
    /// [default: 0; with --hop the highest number in its rules]
    #[arg(long, value_name = "N")]
    hops: Option<Hops>,

    /// Behaviour of the N-th router from the client: N:BOX, with a box as for --box, N:silent, N:rate-limit,
    /// N:quote=BYTES, N:mtu=BYTES, N:mtu-silent=BYTES, N:branches=COUNT, N:per-packet, N:proxy,
    /// N:arriving=BOX; Nb is the second router of a hop. May be given several times
    #[arg(long = "hop", value_name = "RULE")]
    rules: Vec<HopRule>,

    /// Number of servers behind the address, each with its own keys, as behind a load balancer, 1 to 16
    /// [default: 1]
    #[arg(long, value_name = "N")]
    servers: Option<Servers>,

    /// Shell command to run on the server's host, instead of the mirror
    #[arg(long, value_name = "COMMAND")]
    server_command: Option<String>,
}

/// A share of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl FromStr for Share {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        text.strip_suffix('%')
            .and_then(|number| number.parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| Self(percent / 100.0))
            .ok_or_else(|| Expected::new(r#"a share from 0% to 100%, such as "1.5%""#))
    }
}

fn middlebox() -> impl TypedValueParser<Value = Middlebox> {
    let names = Middlebox::ALL
        .iter()
        .map(|middlebox| PossibleValue::new(middlebox.name()).help(middlebox.does()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Middlebox>())
}

impl NetworkFlags {
    /// Returns the settings of the network that the flags describe.
    pub(crate) fn settings(&self, v6: bool) -> Result<NetworkSettings, Failure> {
        let highest = self.rules.iter().map(HopRule::hop).max().unwrap_or(0);
        let count = self.hops.map_or(highest, |hops| hops.get() as usize);
        let hops = lab::hops(count, &self.rules).map_err(|e| Failure::Unusable(e.to_string()))?;
        Ok(NetworkSettings {
            rtt: self.rtt.map_or(NetworkSettings::DEFAULT_RTT, Period::get),
            jitter: self.jitter.map_or(Duration::ZERO, Period::get),
            loss: self.loss.map_or(0.0, |share| share.0),
            boxes: self.boxes.clone(),
            hops,
            rules: self.rules.clone(),
            servers: self.servers.map_or(1, |servers| servers.get() as usize),
            v6,
            server_command: self.server_command.clone(),
        })
    }
}
