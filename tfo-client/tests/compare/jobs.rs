//! The jobs of connections, HTTP, TLS and DNS, against servers that the tests start.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use serde_json::Value;
use tempfile::TempDir;
use tfo_core::lab::{Network, PathSettings, Program, isolated};
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;

use super::{alone, among_others, command, number, only, retried, schema};

const RTT: Duration = Duration::from_millis(50);

fn network() -> Network {
    Network::new(PathSettings::new().round_trip(RTT)).unwrap()
}

fn listen(port: u16) -> FastOpenListener {
    FastOpenListener::bind(SocketAddr::from(([0_u16; 8], port))).unwrap()
}

/// Starts a mirror on the server's host.
pub(crate) fn serve(network: &Network, port: u16) {
    network.server().run(move || {
        let listener = listen(port);
        thread::spawn(move || serve_mirror(&listener));
    });
}

/// Starts a server that handles each connection with `answer`.
fn serve_with(
    network: &Network,
    answer: impl Fn(&mut TcpStream) -> io::Result<()> + Send + 'static,
) {
    network.server().run(move || {
        let listener = listen(2222);
        thread::spawn(move || {
            while let Ok(accepted) = listener.accept() {
                let mut stream = TcpStream::from(accepted.stream);
                // A flight of TLS consists of several writes.
                stream.set_nodelay(true).unwrap();
                // The client may close before the answer is complete.
                let _ = answer(&mut stream);
            }
        });
    });
}

fn run(network: &Network, arguments: &str, certificates: Option<&str>) -> Value {
    let mut command = command(&format!("-s 192.0.2.2 -n 10 -o json {arguments}"));
    command.env("SSL_CERT_FILE", certificates.unwrap_or("/dev/null"));
    let ended = Program::start(network.client(), command).unwrap().finish();
    let document = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
    schema::assert_valid(&document);
    document
}

/// Checks that the medians of a time are nearest to these numbers of round trips, on both sides. Anything more exact
/// would measure the machine.
fn takes(document: &Value, metric: &str, regular: f64, fast: f64) -> Result<(), String> {
    let found = only(document);
    assert_eq!(found["hit_rate"]["count"], 10, "not all attempts used fast open: {found}");
    let all = found["times"].as_array().unwrap();
    let times = all.iter().find(|times| times["metric"] == metric);
    let times = times.unwrap_or_else(|| panic!("no {metric}: {found}"));
    for (pointer, expected) in [("/regular/median/us", regular), ("/fast_open/median/us", fast)] {
        let trips = number(times, pointer) / 1e6 / RTT.as_secs_f64();
        if (trips - expected).abs() >= 0.5 {
            return Err(format!("{metric}{pointer}: {trips:.2} RTT, not {expected}"));
        }
    }
    Ok(())
}

#[test]
fn http_page_is_timed_to_first_byte_and_end() {
    let _alone = alone();
    isolated(|| {
        let network = network();
        serve_with(&network, |stream| {
            let mut request = [0; 1024];
            let len = stream.read(&mut request)?;
            let request = String::from_utf8_lossy(&request[..len]).into_owned();
            assert!(request.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("\r\nHost: 192.0.2.2:2222\r\n"), "{request}");
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            )?;
            // Sends the end one round trip later.
            thread::sleep(RTT);
            stream.write_all(b"0\r\n\r\n")?;
            // Keeps the connection open: the last chunk marks the end.
            stream.read(&mut [0]).map(drop)
        });
        retried(
            || run(&network, "--http /x?y=1", None),
            |document| {
                takes(document, "first-byte", 2.0, 1.0)?;
                takes(document, "reply", 3.0, 2.0)
            },
        );
    });
}

#[test]
fn http_reply_of_the_mirror_ends_with_the_connection() {
    let _others = among_others();
    isolated(|| {
        let network = network();
        serve(&network, 2222);
        let document = run(&network, "--http /", None);
        let samples = only(&document)["samples"].as_array().unwrap();
        assert!(samples.iter().all(|sample| sample["reply_us"].is_u64()), "{samples:?}");
    });
}

#[test]
fn server_without_http_is_reported() {
    let _others = among_others();
    isolated(|| {
        let network = network();
        serve_with(&network, |stream| stream.write_all(b"220 mail.example ESMTP\r\n"));
        let document = run(&network, "--http /", None);
        let error = document["targets"][0]["error"].as_str().unwrap();
        assert!(error.contains("not an HTTP response"), "{error}");
    });
}

/// Returns a certificate as PEM, and the configuration of a server that uses it.
fn certificate() -> (String, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["192.0.2.2".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem(), Arc::new(config))
}

fn serve_tls(network: &Network, config: Arc<ServerConfig>) {
    serve_with(network, move |stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = Stream::new(&mut tls, stream);
        let mut request = [0; 1024];
        if tls.read(&mut request)? > 0 {
            tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")?;
        }
        tls.conn.send_close_notify();
        tls.flush()
    });
}

#[test]
fn tls_client_hello_is_sent_in_the_syn() {
    let _alone = alone();
    isolated(|| {
        let network = network();
        let (pem, config) = certificate();
        serve_tls(&network, config);
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("authorities.pem");
        fs::write(&file, pem).unwrap();
        let file = file.display().to_string();
        retried(
            || run(&network, "--tls", Some(&file)),
            |document| {
                assert_eq!(only(document)["tls"], "1.3");
                takes(document, "handshake", 2.0, 1.0)
            },
        );
        retried(
            || run(&network, "--tls --http /", Some(&file)),
            |document| {
                takes(document, "handshake", 2.0, 1.0)?;
                takes(document, "first-byte", 3.0, 2.0)
            },
        );
        let hellos = network.packets();
        let syns = hellos.iter().filter(|packet| {
            let sighting = packet.sent.as_ref();
            // The record with the ClientHello begins with its type, 22, and the version 3.1.
            sighting.is_some_and(|sighting| {
                let words = tfo_core::capture::describe(&sighting.frame).to_string();
                words.starts_with("SYN, cookie")
                    && words.contains("data in the SYN")
                    && sighting.frame.windows(3).any(|window| window == [22, 3, 1])
            })
        });
        assert!(syns.count() >= 20, "a connection with fast open had no ClientHello in its SYN");
    });
}

#[test]
fn untrusted_certificate_is_refused_without_insecure() {
    let _others = among_others();
    isolated(|| {
        let network = network();
        let (_, config) = certificate();
        serve_tls(&network, config);
        let refused = run(&network, "--tls", None);
        let error = refused["targets"][0]["error"].as_str().unwrap();
        assert!(error.contains("TLS: ") && error.contains("--insecure"), "{error}");
        let (other, _) = certificate();
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("authorities.pem");
        fs::write(&file, other).unwrap();
        let refused = run(&network, "--tls", Some(&file.display().to_string()));
        let error = refused["targets"][0]["error"].as_str().unwrap();
        assert!(error.contains("invalid peer certificate"), "{error}");
        let accepted = run(&network, "--tls --insecure", None);
        assert_eq!(only(&accepted)["hit_rate"]["count"], 10);
    });
}

#[test]
fn dns_query_over_tcp_is_timed() {
    let _alone = alone();
    isolated(|| {
        let network = network();
        serve_with(&network, |stream| {
            let mut query = [0; 512];
            let len = stream.read(&mut query)?;
            let mut answer = query[..len].to_vec();
            assert!(answer.windows(9).any(|window| window == b"\x07example\x00"), "{answer:?}");
            // Returns the query as a response without answer records.
            answer[4] |= 0x80;
            stream.write_all(&answer)?;
            stream.read(&mut [0]).map(drop)
        });
        retried(
            || run(&network, "--dns www.example", None),
            |document| {
                takes(document, "first-byte", 2.0, 1.0)?;
                takes(document, "reply", 2.0, 1.0)
            },
        );
    });
}
