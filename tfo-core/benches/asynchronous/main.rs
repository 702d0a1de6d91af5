//! An echo client and server on loopback: the streams of tokio beside those of `tfo_core::tokio`.
//!
//! `cargo bench -p tfo-core --bench asynchronous`
//!
//! Prints CPU time and segments per connection, both ends together, as ratios to tokio's `TcpStream` in the same run.
//! Loopback has no round trip to save: what is measured is the cost. Both ends run on one thread, in a network
//! namespace of their own, and the variants take turns in an order that changes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::print_stdout, reason = "it is what a benchmark is for")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tfo_core::host::FastOpenFlags;
use tfo_core::lab::{self, Host};
use tfo_core::tokio::{Connector, FastOpenListener, FastOpenStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

const ROUNDS: usize = 40;
const CONNECTIONS: usize = 500;
const MESSAGE: &[u8] = &[b'x'; 64];

/// What opens the connections.
#[derive(Clone, Copy, PartialEq)]
enum Variant {
    Tokio,
    OffFirstBytes,
    OffFirstWrite,
    OffArrivals,
    OnFirstBytes,
    OnFirstWrite,
    OnRemembered,
}

const VARIANTS: [(Variant, &str); 7] = [
    (Variant::Tokio, "tokio's TcpStream"),
    (Variant::OffFirstBytes, "fast open off, connect with first bytes"),
    (Variant::OffFirstWrite, "fast open off, connect on first write"),
    (Variant::OffArrivals, "the same, and the server reads arrivals"),
    (Variant::OnFirstBytes, "fast open on, connect with first bytes"),
    (Variant::OnFirstWrite, "fast open on, connect on first write"),
    (Variant::OnRemembered, "the same, by a connector with a memory"),
];

/// What one connection costs.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu: Duration,
    segments: f64,
}

fn main() {
    lab::allow_hosts().expect("namespaces can be made here");
    let host = Host::new("loopback").expect("namespaces can be made here");
    let mut costs = [const { Vec::new() }; VARIANTS.len()];
    for round in 0..=ROUNDS {
        for place in 0..VARIANTS.len() {
            let index = (place * if round % 2 == 0 { 1 } else { 5 } + round) % VARIANTS.len();
            let (variant, _) = VARIANTS[index];
            let on = matches!(
                variant,
                Variant::OnFirstBytes | Variant::OnFirstWrite | Variant::OnRemembered
            );
            host.set_tcp_fastopen(FastOpenFlags::new(if on { 3 } else { 0 })).expect("its own");
            let cost = host.run(move || measure(variant));
            // The first round fetches the cookie and warms up.
            if round > 0 {
                costs[index].push(cost);
            }
        }
    }
    println!("{:<42} {:>9} {:>7} {:>9}", "median per connection", "CPU", "ratio", "segments");
    for ((_, name), cost) in VARIANTS.iter().zip(&costs) {
        let cpu = median(cost.iter().map(|cost| cost.cpu.as_secs_f64() * 1e6));
        let beside = cost.iter().zip(&costs[0]);
        let ratio =
            median(beside.map(|(it, plain)| it.cpu.as_secs_f64() / plain.cpu.as_secs_f64()));
        let segments = median(cost.iter().map(|cost| cost.segments));
        println!("{name:<42} {cpu:>6.1} µs {ratio:>7.3} {segments:>9.2}");
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Makes connections one after the other, with server and client on this thread.
fn measure(variant: Variant) -> Cost {
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        let server = start_server(variant).await;
        let connector = Connector::default();
        let (cpu, segments) = (cpu_time(), segments_sent());
        for _ in 0..CONNECTIONS {
            match variant {
                Variant::Tokio => talk(TcpStream::connect(server).await.unwrap()).await,
                Variant::OffFirstWrite | Variant::OffArrivals | Variant::OnFirstWrite => {
                    talk(FastOpenStream::connect_on_write(server).await.unwrap()).await;
                }
                Variant::OnRemembered => {
                    talk(connector.connect_on_write(server).await.unwrap()).await;
                }
                Variant::OffFirstBytes | Variant::OnFirstBytes => {
                    hear(FastOpenStream::connect(server, MESSAGE).await.unwrap()).await;
                }
            }
        }
        let count = f64::from(u32::try_from(CONNECTIONS).unwrap());
        Cost {
            cpu: cpu_time().saturating_sub(cpu).div_f64(count),
            segments: (segments_sent() - segments) / count,
        }
    })
}

async fn start_server(variant: Variant) -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any).await.unwrap();
    let address = listener.local_addr().unwrap();
    if variant == Variant::Tokio {
        tokio::spawn(async move {
            loop {
                tokio::spawn(echo(listener.accept().await.unwrap().0));
            }
        });
    } else {
        let listener = FastOpenListener::from_tokio(listener).unwrap();
        tokio::spawn(async move {
            loop {
                let stream = match variant {
                    Variant::OffArrivals => listener.accept().await.unwrap().stream,
                    _ => listener.accept_raw().await.unwrap().0,
                };
                tokio::spawn(echo(stream));
            }
        });
    }
    address
}

async fn echo(mut stream: TcpStream) {
    let mut message = [0; MESSAGE.len()];
    stream.read_exact(&mut message).await.unwrap();
    stream.write_all(&message).await.unwrap();
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    stream.write_all(MESSAGE).await.unwrap();
    hear(stream).await;
}

/// Reads the answer and the end of the connection, which the server closes.
async fn hear(mut stream: impl AsyncRead + Unpin) {
    stream.read_exact(&mut [0; MESSAGE.len()]).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// Returns the CPU time of this thread.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts it");
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// Returns the number of segments that this namespace has sent.
fn segments_sent() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").expect("anybody may read it");
    let mut rows = text.lines().filter(|line| line.starts_with("Tcp:")).map(|line| line.split(' '));
    let (names, mut values) = (rows.next().expect("names"), rows.next().expect("values"));
    let column = { names }.position(|name| name == "OutSegs").expect("a column");
    values.nth(column).and_then(|value| value.parse().ok()).expect("a number")
}
