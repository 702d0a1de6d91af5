//! TLS over the streams: the `ClientHello` rides the SYN.

use std::sync::Arc;

use http_body_util::Empty;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tfo_core::diagnosis::Outcome;
use tfo_core::hyper::FastOpenConnector;
use tfo_core::lab::isolated;
use tfo_core::socket::Attempt;
use tfo_core::tokio::{Accepted, FastOpenStream, Handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{client, in_syn, network, serve_each};

/// The server's name: an address, so that nothing has to be resolved.
const NAME: &str = "192.0.2.2";

fn configurations() -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("its key");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, client)
}

/// Answers one request, whatever it is.
async fn answer(acceptor: TlsAcceptor, accepted: Accepted) {
    // A connection that only fetches a cookie says nothing.
    let Ok(mut stream) = acceptor.accept(accepted).await else { return };
    let _ = stream.read(&mut [0; 4096]).await;
    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    let _ = stream.shutdown().await;
}

#[test]
fn client_hello_rides_the_syn() {
    isolated(|| {
        let net = network();
        let (tls, config) = configurations();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let (server, arrivals) = serve_each(&net, move |it| answer(acceptor.clone(), it));
        client(&net, async move || {
            // Directly, with tokio-rustls.
            let connector = TlsConnector::from(Arc::new(config.clone()));
            for outcome in [Outcome::CookieGranted, Outcome::FastOpen] {
                let stream = FastOpenStream::connect_on_write(server).await.unwrap();
                let handshake = stream.handshake();
                let name = ServerName::try_from(NAME).unwrap();
                let mut stream = connector.connect(name, stream).await.expect("TLS");
                stream.write_all(b"?").await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
                assert_eq!(handshake.verdict().unwrap().outcome, outcome);
            }
            // With hyper. No request may be sent twice: the ClientHello may.
            let https = HttpsConnectorBuilder::new()
                .with_tls_config(config)
                .https_only()
                .enable_http1()
                .wrap_connector(FastOpenConnector::new());
            let client: Client<_, Empty<&[u8]>> =
                Client::builder(TokioExecutor::new()).build(https);
            let response = client.get(format!("https://{server}/").parse().unwrap()).await.unwrap();
            let handshake = response.extensions().get::<Handshake>().expect("passed through");
            assert_eq!(handshake.verdict().unwrap().outcome, Outcome::FastOpen);
            assert!(matches!(handshake.attempt(), Some(Attempt::InSyn(100..))), "{handshake:?}");
        });
        let carried: Vec<_> = arrivals.try_iter().map(|arrival| in_syn(&arrival)).collect();
        assert!(matches!(carried[..], [0, a, b] if a > 100 && b > 100), "{carried:?}");
    });
}
