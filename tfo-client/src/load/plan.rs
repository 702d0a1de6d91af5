//! What every connection of a run is: made once, before the first one.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use tfo_core::cli::error_chain;
use tfo_core::probe::mirror;
use tfo_core::socket::{Connector, Method};

use super::settings::{Expect, LoadMessage, LoadSettings, Pace};
use crate::config::Settings;
use crate::output::Failure;
use crate::target;

/// A token that a mirror's request must have. All are the same: nobody asks which answer is whose.
const TOKEN: &str = "load";

/// What a connection does.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) server: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) expect: Expect,
    /// The addresses that connections come from; one that is unknown where the host has no route.
    pub(crate) sources: Vec<Option<IpAddr>>,
    /// They take turns.
    pub(super) ways: Vec<Way>,
    pub(crate) timeout: Duration,
    pub(super) reset: bool,
    /// Connections are due at certain times.
    pub(super) paced: bool,
}

/// From where, and how.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) connector: Connector,
    /// Which of the plan's sources it is.
    pub(super) source: usize,
}

impl Plan {
    /// An error is the user's: it says what is wrong with which flag.
    pub(crate) fn new(
        settings: &Settings,
        load: &LoadSettings,
        server: SocketAddr,
    ) -> Result<Self, Failure> {
        if load.concurrency < load.threads as usize {
            return Err(Failure::Unusable(format!(
                "--concurrency {} leaves some of --threads {} without a connection: expected at least {}",
                load.concurrency, load.threads, load.threads
            )));
        }
        for source in &load.sources {
            check_source(*source, server)?;
        }
        let methods = load.mode.methods();
        let mut ways = Vec::new();
        let sources = if load.sources.is_empty() {
            ways.extend(methods.iter().map(|method| way(*method, 0)));
            vec![target::local_address(server)]
        } else {
            for method in methods {
                for (number, source) in load.sources.iter().enumerate() {
                    let Way { connector, source: _ } = way(*method, number);
                    let connector = connector.bind(SocketAddr::new(*source, 0));
                    ways.push(Way { connector, source: number });
                }
            }
            load.sources.iter().copied().map(Some).collect()
        };
        Ok(Self {
            server,
            request: request(settings, load),
            expect: load.expect.clone(),
            sources,
            ways,
            timeout: load.timeout,
            reset: load.reset,
            paced: load.pace != Pace::Fast,
        })
    }
}

fn way(method: Method, source: usize) -> Way {
    Way { connector: Connector::default().method(method), source }
}

fn request(settings: &Settings, load: &LoadSettings) -> Vec<u8> {
    match &load.message {
        LoadMessage::Text(text) => text.clone().into_bytes(),
        // Too short for a mirror, which then refuses it: a reply as well.
        LoadMessage::Generated(size) if *size < mirror::request_len(TOKEN) => vec![b'.'; *size],
        LoadMessage::Generated(size) => mirror::request(TOKEN, *size),
        LoadMessage::Http(path) => {
            let (host, port) = (&settings.target.host, settings.target.port);
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let host = if port == 80 { host } else { format!("{host}:{port}") };
            let version = env!("CARGO_PKG_VERSION");
            format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tfo-client/{version}\r\n\
                 Connection: close\r\n\r\n"
            )
            .into_bytes()
        }
    }
}

/// Whether connections can come from there: found out before thousands fail.
fn check_source(source: IpAddr, server: SocketAddr) -> Result<(), Failure> {
    let refused = |why: String| Err(Failure::Unusable(format!("--source {source}: {why}")));
    if source.is_ipv4() != server.is_ipv4() {
        let family = if server.is_ipv4() { "IPv4" } else { "IPv6" };
        return refused(format!(
            "expected an {family} address, as the server's is {}",
            server.ip()
        ));
    }
    match TcpListener::bind((source, 0)) {
        Ok(_) => Ok(()),
        Err(e) => refused(format!(
            "expected an address of this host (`ip address` lists them): {}",
            error_chain(&e)
        )),
    }
}
