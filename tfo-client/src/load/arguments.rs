#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments are the help that users read"
)]

use std::{net::IpAddr, str::FromStr, time::Duration};

use clap::Args;
use tfo_core::cli::{Expected, Integer, Period};

use super::settings::{End, Expect, LoadMessage, LoadMode, LoadSettings, Pace};
use crate::config::file::{Message, PayloadSize};
use crate::config::server_address::ServerAddress;

/// Connections a second.
type Rate = Integer<1, 10_000_000>;
/// Connections that are open at once.
type Concurrency = Integer<1, 1_000_000>;
type Threads = Integer<1, 1024>;
/// Connections in all.
type Connections = Integer<1, { u32::MAX }>;
/// How long connections are opened.
type RunTime = Period<100, 604_800_000>;
type Timeout = Period<1, 3_600_000>;
type ReplyBytes = Integer<1, { u32::MAX }>;
type Status = Integer<100, 599>;
type Limit = Period<0, 3_600_000>;

const CONCURRENCY: u32 = 16;
/// With `--rate` a cap alone, for a server that has stalled.
const CONCURRENCY_AT_A_RATE: u32 = 1000;

const AFTER_HELP: &str = "\
A connection sends its request, in the SYN where it can, waits for the reply, and closes. Its
verdict comes from TCP_INFO, read at the reply's first byte. By default the reply is at least one
byte, and ends when the server closes; --http checks the status too, and takes 200 to 399; with
--expect-bytes it ends with that many bytes, and this end closes first. Anything else is an error
and no verdict: each connection that is started is counted once, as one of the two.

With --rate, times are counted from when a connection was due: a server that stalls can't hide it.
Times are to the first byte, and to the reply's end. A server's close ends a fast open connection
only after a second round trip, so the end is a fair measure where the reply tells its length.

-s, -p, -4, -6 and -o come from the configuration too, the other settings from these flags alone.

Exit status: 0 done, 1 a limit of --fail-under or --max-p99 is broken, 2 wrong usage, 3 no
connection got its reply. For --max-p99 a connection without its reply is slower than any other.
Ctrl-C ends, and prints what there is.

A source address has about 28,000 ports. A cookie belongs to a pair of addresses, and Linux keeps
about 5 of them for a destination: with more addresses in --source they evict each other.

Examples:
  tfo-client load -s HOST                          as fast as 16 connections at once allow
  tfo-client load -s HOST:80 --http / --rate 1000 --duration 30s
  tfo-client load -s HOST --mode mixed             fast open and regular, in turn
  tfo-client load -s HOST --count 100000 --fail-under 5000 --max-p99 20ms -o json";

#[derive(Debug, Default, Args)]
#[command(after_help = AFTER_HELP, next_display_order = 10)]
pub(crate) struct LoadFlags {
    /// Host to connect to, as for --server
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) host: Option<ServerAddress>,

    /// Connections to start a second, 1 to 10000000, however long they take [default: as fast as
    /// --concurrency allows]
    #[arg(long, value_name = "N")]
    rate: Option<Rate>,

    /// Connections that are open at once, 1 to 1000000 [default: 16; 1000 with --rate]
    #[arg(long, value_name = "N")]
    concurrency: Option<Concurrency>,

    /// Threads, 1 to 1024; each keeps one core busy [default: 1]
    #[arg(long, value_name = "N")]
    threads: Option<Threads>,

    /// How long connections are opened, 100ms to 7days [default: 10s]
    #[arg(long, value_name = "TIME", conflicts_with = "count")]
    duration: Option<RunTime>,

    /// Connections to open, 1 to 4294967295, instead of --duration
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<Connections>,

    /// Way of the first bytes: auto, sendto, connect, off, or mixed: auto and off in turn [default: auto]
    #[arg(long, value_name = "MODE", value_enum, hide_possible_values = true)]
    mode: Option<LoadMode>,

    /// Request to send [default: one of --size that the mirror of tfo-server answers]
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["size", "http"])]
    message: Option<Message>,

    /// Size of the generated request, 1B to 1MiB [default: 64B]
    #[arg(long, visible_alias = "request-size", value_name = "SIZE", conflicts_with = "http")]
    size: Option<PayloadSize>,

    /// Send an HTTP/1.1 GET for this path
    #[arg(long, value_name = "PATH")]
    http: Option<HttpPath>,

    /// The reply is this many bytes, 1 to 4294967295
    #[arg(long, value_name = "N", conflicts_with_all = ["expect", "no_reply", "http"])]
    expect_bytes: Option<ReplyBytes>,

    /// The reply begins with this text
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["no_reply", "http"])]
    expect: Option<String>,

    /// The reply's HTTP status, 100 to 599 [default: 200 to 399]
    #[arg(long, value_name = "STATUS", requires = "http")]
    expect_status: Option<Status>,

    /// Don't wait for a reply: a connection is done when it is established and all is sent
    #[arg(long, conflicts_with = "http")]
    no_reply: bool,

    /// Local address to connect from; several take turns
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    source: Vec<IpAddr>,

    /// Close with a RST: no connection stays in TIME_WAIT, and none waits for the server's close
    #[arg(long)]
    reset: bool,

    /// Time for a connection from its start to its end, 1ms to 1h [default: 5s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Timeout>,

    /// Exit status 1 with fewer replies a second than N, 1 to 10000000
    #[arg(long, value_name = "N")]
    fail_under: Option<Rate>,

    /// Exit status 1 when the 99th percentile to the first byte is above TIME, 0ms to 1h
    #[arg(long, value_name = "TIME")]
    max_p99: Option<Limit>,
}

/// What a GET asks for: it must not be able to end the request's line.
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
            // A thread without a connection would have nothing to do.
            (None, None) => CONCURRENCY.max(threads),
            (None, Some(_)) => CONCURRENCY_AT_A_RATE.max(threads),
        };
        LoadSettings {
            pace: self.rate.map_or(Pace::Fast, |rate| Pace::Rate(rate.get())),
            concurrency: concurrency as usize,
            threads,
            end: match (self.count, self.duration) {
                (Some(count), _) => End::Count(count.get().into()),
                (None, Some(time)) => End::After(time.get()),
                (None, None) => End::After(Duration::from_secs(10)),
            },
            mode: self.mode.unwrap_or_default(),
            message: match (&self.http, &self.message) {
                (Some(path), _) => LoadMessage::Http(path.0.clone()),
                (None, Some(text)) => LoadMessage::Text(text.as_str().to_owned()),
                (None, None) => LoadMessage::Generated(self.size.map_or(64, PayloadSize::get)),
            },
            expect: self.expect(),
            sources: self.source.clone(),
            reset: self.reset,
            timeout: self.timeout.map_or(Duration::from_secs(5), Timeout::get),
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
