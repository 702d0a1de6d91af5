//! The time to the first byte of an answer, in round trips, on a path with 40 ms.

use std::fmt::Write as _;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tfo_core::lab::{Network, PathSettings};
use tfo_core::socket::Attempt;
use tfo_core::socket::{Connector, Method};

use crate::ground::Ground;
use crate::peers::{self, HAPROXY, NGINX, Peer, TFO_SERVER};
use crate::speed::UPSTREAM;
use crate::table::Spread;
use crate::{Plan, Result, say};

const ROUND_TRIP: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PORT: u16 = 20_601;
/// A hit takes one round trip; the rest is the time of this machine.
const AT_MOST: f64 = 1.25;
const SHORT: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A server, a service, and the request.
struct Case {
    what: &'static str,
    peer: &'static Peer,
    request: String,
}

fn cases() -> Vec<Case> {
    let long = SHORT.replace("\r\n\r\n", &format!("\r\nX-Padding: {}\r\n\r\n", "x".repeat(600)));
    let case = |what, peer, request: &str| Case { what, peer, request: request.to_owned() };
    let mut cases = vec![case("mirror", &peers::MIRROR, "tfo-probe/1 bench\n")];
    for peer in peers::ONE_SHOT {
        let what = match peer.name {
            TFO_SERVER => "respond",
            "tfo-server, http" | NGINX | HAPROXY => "http",
            _ => continue,
        };
        cases.push(case(what, peer, SHORT));
        cases.push(case(
            if what == "http" { "http, 600 B more" } else { "respond, 600 B more" },
            peer,
            &long,
        ));
    }
    cases.extend(peers::FORWARD.iter().map(|peer| case("forward", peer, SHORT)));
    cases
}

/// Measures all cases. Returns a Markdown table.
pub(crate) fn measure(ground: &Ground, plan: &Plan) -> Result<String> {
    let network = Network::new(PathSettings::new().round_trip(ROUND_TRIP))?;
    let mut upstream = ground.built("limit");
    upstream.arg("epoll-more").arg(UPSTREAM.to_string()).stdout(Stdio::null());
    let mut programs = vec![network.server().spawn(upstream)?];
    let mut text =
        "| server | service | fast open, round trips | regular |\n| --- | --- | --- | --- |\n"
            .to_owned();
    let mut missed = Vec::new();
    for (port, Case { what, peer, request }) in (FIRST_PORT..).zip(cases()) {
        let started = peer.command(ground, port, UPSTREAM, 1);
        let started = started.and_then(|mut command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Ok(network.server().spawn(command)?)
        });
        match started {
            Ok(program) => programs.push(program),
            Err(e) => {
                say(&format!("LEFT OUT: {}, {what}: {e}", peer.name));
                continue;
            }
        }
        say(&format!("first bytes of {}, {what}", peer.name));
        let to = SocketAddr::new(Network::server_address(false), port);
        wait_for(&network, to)?;
        let of = |method| -> Result<Spread> {
            let figures: Result<Vec<f64>> =
                (0..plan.rounds).map(|_| first_byte(&network, to, method, &request)).collect();
            Ok(Spread::of(figures?).ok_or("nothing was measured")?)
        };
        // The first connection requests a cookie.
        first_byte(&network, to, Method::Auto, &request).ok();
        let (fast, regular) = (of(Method::Auto)?, of(Method::Off)?);
        let _ = writeln!(text, "| {} | {what} | {fast} | {regular} |", peer.name);
        if peer.name.starts_with(TFO_SERVER) && fast.median > AT_MOST {
            missed.push(what);
        }
    }
    for mut program in programs {
        program.kill()?;
        program.wait()?;
    }
    let target = if missed.is_empty() {
        "reached".to_owned()
    } else {
        format!("MISSED ({})", missed.join(", "))
    };
    Ok(format!(
        "{text}\n{target}: first byte of {TFO_SERVER}, to be at most {AT_MOST} round trips\n"
    ))
}

/// Waits until a server listens at this address.
fn wait_for(network: &Network, to: SocketAddr) -> Result<()> {
    let local = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), to.port());
    let end = Instant::now() + PATIENCE;
    while network.server().run(move || std::net::TcpStream::connect(local)).is_err() {
        if Instant::now() > end {
            return Err(format!("no server listens on {to}").into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Returns the time from the SYN to the first byte, in round trips.
fn first_byte(network: &Network, to: SocketAddr, method: Method, request: &str) -> Result<f64> {
    let request = request.as_bytes().to_vec();
    let begin = Instant::now();
    let connector = Connector::default().method(method).timeout(PATIENCE);
    let mut stream = network.client().run(move || connector.connect(to, &request))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut [0])?;
    let time = begin.elapsed();
    if method == Method::Auto && !matches!(stream.attempt(), Some(Attempt::InSyn(_))) {
        return Err(format!("{to}: the request did not ride the SYN").into());
    }
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(time.as_secs_f64() / ROUND_TRIP.as_secs_f64())
}
