//! The plan that all connections of a run follow, made once before the first connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tfo_core::probe::mirror;
use tfo_core::socket::{Connector, Method};

use super::settings::{Expect, LoadMessage, LoadSettings, Pace};
use crate::config::Settings;
use crate::output::Failure;
use crate::target;

/// The token of requests to a mirror. All requests share it, because answers are not matched to requests.
const TOKEN: &str = "load";

/// Describes what every connection does.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) server: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) expect: Expect,
    /// The source addresses; one unknown address if the host has no route.
    pub(crate) sources: Vec<Option<IpAddr>>,
    /// The combinations of method and source address, which connections use in turn.
    pub(super) variants: Vec<Variant>,
    pub(crate) timeout: Duration,
    pub(super) reset: bool,
    /// Whether connections are started at a fixed rate.
    pub(super) paced: bool,
}

/// A method of connecting, and a source address.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) connector: Connector,
    /// The index into the plan's `sources`.
    pub(super) source: usize,
}

impl Plan {
    /// Makes the plan. An error names the flag that is wrong.
    pub(crate) fn new(
        settings: &Settings,
        load: &LoadSettings,
        server: SocketAddr,
    ) -> Result<Self, Failure> {
        if load.concurrency < load.threads as usize {
            return Err(Failure::Unusable(format!(
                "--concurrency {} is less than --threads {}: expected at least {}, one connection per thread",
                load.concurrency, load.threads, load.threads
            )));
        }
        for source in &load.sources {
            target::check_source(*source, server)?;
        }
        if let Some(interface) = load.interface.get() {
            target::check_interface(interface)?;
        }
        let variant = |method: Method, source: usize| {
            let connector = Connector::default().method(method);
            let connector = load.interface.get().into_iter().fold(connector, Connector::interface);
            Variant { connector, source }
        };
        let methods = load.mode.methods();
        let mut variants = Vec::new();
        let sources = if load.sources.is_empty() {
            variants.extend(methods.iter().map(|method| variant(*method, 0)));
            vec![target::local_address(server)]
        } else {
            for method in methods {
                for (number, source) in load.sources.iter().enumerate() {
                    let Variant { connector, source: _ } = variant(*method, number);
                    let connector = connector.bind(SocketAddr::new(*source, 0));
                    variants.push(Variant { connector, source: number });
                }
            }
            load.sources.iter().copied().map(Some).collect()
        };
        Ok(Self {
            server,
            request: request(settings, load),
            expect: load.expect.clone(),
            sources,
            variants,
            timeout: load.timeout,
            reset: load.reset,
            paced: load.pace != Pace::Fast,
        })
    }
}

fn request(settings: &Settings, load: &LoadSettings) -> Vec<u8> {
    match &load.message {
        LoadMessage::Text(text) => text.clone().into_bytes(),
        // Too short for a mirror, whose refusal counts as a reply too.
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
