//! `tfo-server top`: what a running server has counted, read from its metrics.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::program::output::Reader;
use tfo_core::program::value::Format;

use crate::config::Settings;
use crate::report;
use crate::report::metrics::{Samples, Screen, table};

const REFRESH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any server has to say.
const MOST: u64 = 16 << 20;

pub(crate) fn run(settings: &Settings, from: Option<SocketAddr>) -> ExitCode {
    let Some(address) = from.or(settings.metrics).map(reachable) else {
        let why = "this configuration serves no metrics: write the two lines `[metrics]` and \
                   `port = 9413` into it and restart the server, or say where they are served: \
                   --from ADDR:PORT";
        return report::settings_error(&io::Error::other(why));
    };
    let mut screen = Screen::new(settings.format);
    let mut before: Option<(Samples, Instant)> = None;
    loop {
        let shown = match fetch(address) {
            Ok(samples) => {
                let now = Instant::now();
                let earlier = before.as_ref().map(|(samples, at)| (samples, now - *at));
                let shown = match settings.format {
                    Format::Json => screen.show(&samples.to_json()),
                    Format::Text => screen.show(&table(&samples, earlier)),
                };
                before = Some((samples, now));
                shown
            }
            // A server that restarts is back in a moment.
            Err(e) if before.is_some() => {
                screen.show(&format!("{}; trying again", told(address, &e)))
            }
            Err(e) => return report::failure(&told(address, &e)),
        };
        match shown {
            Ok(Reader::Listening) if screen.refreshes() => thread::sleep(REFRESH),
            Ok(_) => return ExitCode::SUCCESS,
            Err(e) => return report::failure(&e),
        }
    }
}

fn told(address: SocketAddr, e: &io::Error) -> io::Error {
    let advice = match e.kind() {
        io::ErrorKind::ConnectionRefused => ": is the server running, with [metrics] on?",
        _ => "",
    };
    io::Error::new(e.kind(), format!("no metrics from http://{address}/metrics: {e}{advice}"))
}

/// Who listens on every address is asked on the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn fetch(address: SocketAddr) -> io::Result<Samples> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0 has no chunks, and ends with the connection.
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    read(&answer).ok_or_else(|| io::Error::other("the answer is not that of a tfo-server"))
}

fn read(answer: &[u8]) -> Option<Samples> {
    let (head, body) = str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let samples = (status == "200").then(|| Samples::parse(body)).flatten();
    samples.filter(|samples| samples.has("tfo_server_build_info"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_server_is_told_from_ours() {
        let ours = "HTTP/1.1 200 OK\r\nA: b\r\n\r\ntfo_server_build_info{version=\"1\"} 1\n# EOF\n";
        assert!(read(ours.as_bytes()).is_some());
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nnode_boot_time_seconds 1\n",
            "HTTP/1.1 200 OK\r\n\r\n<html></html>",
            &ours.replace("200", "404"),
            &ours.replace("HTTP", "SSH"),
        ] {
            assert_eq!(read(answer.as_bytes()), None, "{answer:?}");
        }
    }

    #[test]
    fn every_address_is_asked_on_the_loopback() {
        for (address, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), asked);
        }
    }
}
