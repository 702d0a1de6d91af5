#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments are the help that users read"
)]

use std::{net::IpAddr, str::FromStr, time::Duration};

use clap::Args;
use tfo_core::cli::{Expected, Integer, Period};

use super::settings::{Expect, LoadMessage, LoadMode, LoadSettings, Pace, RunLength};
use crate::config::file::{InterfaceName, Message, PayloadSize};
use crate::config::server_address::ServerAddress;

/// Connections per second.
type Rate = Integer<1, 10_000_000>;
/// The maximum number of open connections.
type Concurrency = Integer<1, 1_000_000>;
type Threads = Integer<1, 1024>;
/// The total number of connections.
type Connections = Integer<1, { u32::MAX }>;
/// How long to open connections.
type RunTime = Period<100, 604_800_000>;
type Timeout = Period<1, 3_600_000>;
type ReplyBytes = Integer<1, { u32::MAX }>;
type Status = Integer<100, 599>;
type Limit = Period<0, 3_600_000>;

const CONCURRENCY: u32 = 16;
/// With `--rate`: only a cap, which a stalled server reaches.
const CONCURRENCY_AT_A_RATE: u32 = 1000;

const AFTER_HELP: &str = "\
A connection sends its request, in the SYN if possible, waits for the reply, and closes. Its verdict
comes from TCP_INFO, read at the first byte of the reply. By default a reply is at least one byte
long, and ends when the server closes. --http also checks the status, and accepts 200 to 399. With
--expect-bytes the reply ends after N bytes, and this end closes first. Anything else is an error
without a verdict. Each started connection is counted once, as a verdict or as an error.

Times are measured to the first byte and to the end of the reply. With --rate, they are measured
from when a connection was due, so that a stalled server can't hide its delays. A server's close
ends a fast open connection only after a second round trip, so compare the times to the end only if
the length of the reply is known, by --expect-bytes or by HTTP.

-s, -p, -4, -6 and -o can also be set in the configuration; the other settings only by these flags.

Exit status: 0 done, 1 the limit of --fail-under or --max-p99 was not met, 2 wrong usage, 3 no
connection got its reply. For --max-p99, a connection without a reply is slower than any other.
Ctrl-C stops the run, and prints the results so far.

A source address has about 28,000 ports. A cookie belongs to a pair of addresses, and Linux caches
about 5 of them per destination: more addresses in --source evict each other's cookies.

Examples:
  tfo-client load -s HOST                          as fast as 16 open connections allow
  tfo-client load -s HOST:80 --http / --rate 1000 --duration 30s
  tfo-client load -s HOST --mode mixed             alternate fast open and regular connections
  tfo-client load -s HOST --count 100000 --fail-under 5000 --max-p99 20ms -o json";

#[derive(Debug, Default, Args)]
#[command(after_help = AFTER_HELP, next_display_order = 10)]
pub(crate) struct LoadFlags {
    /// Host to connect to, as for --server
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: Option<ServerAddress>,

    /// Connections to start per second, 1 to 10000000, however long they take [default: as fast as
    /// --concurrency allows]
    #[arg(long, value_name = "N")]
    rate: Option<Rate>,

    /// Maximum number of open connections, 1 to 1000000 [default: 16; 1000 with --rate]
    #[arg(long, value_name = "N")]
    concurrency: Option<Concurrency>,

    /// Number of threads, 1 to 1024; each keeps one core busy [default: 1]
    #[arg(long, value_name = "N")]
    threads: Option<Threads>,

    /// How long to open connections, 100ms to 7days [default: 10s]
    #[arg(long, value_name = "TIME", conflicts_with = "count")]
    duration: Option<RunTime>,

    /// Number of connections to open, 1 to 4294967295, instead of --duration
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<Connections>,

    /// How to send the first bytes: auto, sendto, connect, off, or mixed, which alternates auto and off
    /// [default: auto]
    #[arg(long, value_name = "MODE", value_enum, hide_possible_values = true)]
    mode: Option<LoadMode>,

    /// Request to send [default: --size bytes that the mirror of tfo-server answers]
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["size", "http"])]
    message: Option<Message>,

    /// Size of the generated request, 1B to 1MiB [default: 64B]
    #[arg(long, visible_alias = "request-size", value_name = "SIZE", conflicts_with = "http")]
    size: Option<PayloadSize>,

    /// Send an HTTP/1.1 GET for this path
    #[arg(long, value_name = "PATH")]
    http: Option<HttpPath>,

    /// Expect a reply of N bytes, 1 to 4294967295
    #[arg(long, value_name = "N", conflicts_with_all = ["expect", "no_reply", "http"])]
    expect_bytes: Option<ReplyBytes>,

    /// Expect a reply that begins with this text
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["no_reply", "http"])]
    expect: Option<String>,

    /// Expect this HTTP status, 100 to 599 [default: 200 to 399]
    #[arg(long, value_name = "STATUS", requires = "http")]
    expect_status: Option<Status>,

    /// Don't wait for a reply: close a connection once it is established and the request is sent
    #[arg(long, conflicts_with = "http")]
    no_reply: bool,

    /// Local addresses to connect from in turn
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    source: Vec<IpAddr>,

    /// Network interface to connect by [default: that of the route]
    #[arg(long, value_name = "NAME")]
    interface: Option<InterfaceName>,

    /// Close with a RST, without waiting for the server's close and without TIME_WAIT
    #[arg(long)]
    reset: bool,

    /// Timeout for the reply, from the start of the connection, 1ms to 1h [default: 5s]
    #[arg(long, alias = "timeout", value_name = "TIME")]
    reply_timeout: Option<Timeout>,

    /// Exit with status 1 if there are fewer than N replies per second, 1 to 10000000
    #[arg(long, value_name = "N")]
    fail_under: Option<Rate>,

    /// Exit with status 1 if the 99th percentile of the time to the first byte exceeds TIME, 0ms to 1h
    #[arg(long, value_name = "TIME")]
    max_p99: Option<Limit>,
}

/// The path of a GET request, which can't contain characters that would end the request line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HttpPath(String);

impl FromStr for HttpPath {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Expected::new("a path without spaces, such as \"/\" or \"/index.html?a=b\""))
        }
    }
}

impl LoadFlags {
    pub(super) fn settings(&self) -> LoadSettings {
        let threads = self.threads.map_or(1, Threads::get);
        let concurrency = match (self.concurrency, self.rate) {
            (Some(given), _) => given.get(),
            // Every thread needs at least one connection.
            (None, None) => CONCURRENCY.max(threads),
            (None, Some(_)) => CONCURRENCY_AT_A_RATE.max(threads),
        };
        LoadSettings {
            pace: self.rate.map_or(Pace::Fast, |rate| Pace::Rate(rate.get())),
            concurrency: concurrency as usize,
            threads,
            length: match (self.count, self.duration) {
                (Some(count), _) => RunLength::Count(count.get().into()),
                (None, Some(time)) => RunLength::Time(time.get()),
                (None, None) => RunLength::Time(Duration::from_secs(10)),
            },
            mode: self.mode.unwrap_or_default(),
            message: match (&self.http, &self.message) {
                (Some(path), _) => LoadMessage::Http(path.0.clone()),
                (None, Some(text)) => LoadMessage::Text(text.as_str().to_owned()),
                (None, None) => LoadMessage::Generated(self.size.map_or(64, PayloadSize::get)),
            },
            expect: self.expect(),
            sources: self.source.clone(),
            interface: self.interface.clone().unwrap_or_default(),
            reset: self.reset,
            timeout: self.reply_timeout.map_or(Duration::from_secs(5), Timeout::get),
            fail_under: self.fail_under.map(Rate::get),
            max_p99: self.max_p99.map(Limit::get),
        }
    }

    fn expect(&self) -> Expect {
        if self.no_reply {
            Expect::Nothing
        } else if self.http.is_some() {
            Expect::Http(self.expect_status.map(Status::get))
        } else if let Some(bytes) = self.expect_bytes {
            Expect::Bytes(bytes.get().into())
        } else {
            Expect::Beginning(self.expect.clone().unwrap_or_default())
        }
    }
}
