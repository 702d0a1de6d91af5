//! hyper's client and axum's server.

use std::net::SocketAddr;
use std::sync::mpsc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tfo_core::diagnosis::{Cause, Outcome, Verdict};
use tfo_core::hyper::FastOpenConnector;
use tfo_core::lab::{Network, isolated};
use tfo_core::socket::{Arrival, Attempt};
use tfo_core::tokio::{FastOpenListener, Handshake};
use tokio::runtime::Builder;

use crate::support::{client, in_syn, network, serve, set_client_bits};

pub(crate) type HttpClient = Client<FastOpenConnector, Empty<&'static [u8]>>;

/// A client that uses each connection once.
pub(crate) fn each_on_its_own(connector: FastOpenConnector) -> HttpClient {
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)
}

fn in_the_syn() -> FastOpenConnector {
    FastOpenConnector::new().allow_in_syn(true)
}

/// An axum server that answers with the number of bytes that the SYN of the connection carried.
pub(crate) fn app() -> axum::extract::connect_info::IntoMakeServiceWithConnectInfo<Router, Arrival>
{
    let answer = async |ConnectInfo(arrival): ConnectInfo<Arrival>| {
        let bytes = in_syn(&arrival);
        assert_eq!(bytes > 0, arrival.tcp.syn_data, "the option says whether it was accepted");
        bytes.to_string()
    };
    Router::new().route("/", get(answer)).into_make_service_with_connect_info::<Arrival>()
}

pub(crate) fn axum_server(net: &Network) -> SocketAddr {
    serve(net, async |listener| axum::serve(listener, app()).await.unwrap())
}

/// Returns what the response says of the connection, and the bytes that the server's kernel saw in the SYN.
pub(crate) async fn ask(client: &HttpClient, server: SocketAddr) -> (Handshake, Verdict, usize) {
    let uri = format!("http://{server}/").parse().expect("a URI");
    let response = client.get(uri).await.expect("it answers");
    let handshake =
        response.extensions().get::<Handshake>().expect("the connector adds it").clone();
    let verdict = handshake.verdict().expect("an answer came");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let arrived = String::from_utf8(body.to_vec()).unwrap().parse().expect("a number");
    (handshake, verdict, arrived)
}

#[test]
fn request_rides_the_syn_and_the_response_says_so() {
    isolated(|| {
        let net = network();
        let server = axum_server(&net);
        client(&net, async move || {
            let client = each_on_its_own(in_the_syn());
            let (_, verdict, arrived) = ask(&client, server).await;
            assert_eq!((verdict.outcome, arrived), (Outcome::CookieGranted, 0));
            for _ in 0..3 {
                let (handshake, verdict, arrived) = ask(&client, server).await;
                assert_eq!((verdict.outcome, verdict.cause), (Outcome::FastOpen, None));
                assert!(arrived > "GET / HTTP/1.1\r\n".len(), "the whole request: {arrived}");
                assert_eq!(handshake.attempt(), Some(Attempt::InSyn(arrived)));
            }
        });
    });
}

/// Which task runs first is the scheduler's choice here: the request must be sent, and the verdict be true.
#[test]
fn verdict_is_true_with_several_threads() {
    isolated(|| {
        let net = network();
        let server = axum_server(&net);
        net.client().run(move || {
            let threads = Builder::new_multi_thread().worker_threads(2).enable_all().build();
            threads.unwrap().block_on(async move {
                let client = each_on_its_own(in_the_syn());
                for round in 0..10 {
                    let (handshake, verdict, arrived) = ask(&client, server).await;
                    let rode = verdict.outcome == Outcome::FastOpen;
                    assert_eq!((rode, rode), (round > 0, arrived > 0), "{handshake:?} {verdict}");
                }
            });
        });
    });
}

#[test]
fn kept_connection_has_one_handshake() {
    isolated(|| {
        let net = network();
        let server = axum_server(&net);
        client(&net, async move || {
            let client: HttpClient = Client::builder(TokioExecutor::new()).build(in_the_syn());
            for _ in 0..2 {
                let (handshake, verdict, _) = ask(&client, server).await;
                assert_eq!(verdict.outcome, Outcome::CookieGranted, "{handshake:?}");
            }
        });
    });
}

#[test]
fn requests_are_not_sent_twice_unless_allowed() {
    isolated(|| {
        let net = network();
        let server = axum_server(&net);
        client(&net, async move || {
            let client = each_on_its_own(in_the_syn());
            ask(&client, server).await;
            let (_, verdict, arrived) =
                ask(&each_on_its_own(FastOpenConnector::new()), server).await;
            let by_config = Some(Cause::DisabledByConfig);
            assert_eq!((verdict.outcome, verdict.cause), (Outcome::NotAttempted, by_config));
            assert_eq!(arrived, 0);
        });
        set_client_bits(&net, 2);
        client(&net, async move || {
            let (_, verdict, arrived) = ask(&each_on_its_own(in_the_syn()), server).await;
            let disabled = Some(Cause::ClientDisabled);
            assert_eq!((verdict.outcome, verdict.cause), (Outcome::NotAttempted, disabled));
            assert_eq!(arrived, 0);
        });
    });
}

#[test]
fn server_without_fast_open_is_reported_as_a_fallback() {
    isolated(|| {
        let net = network();
        let server = serve(&net, async |listener: FastOpenListener| {
            listener.get_ref().set_queue(0).unwrap();
            axum::serve(listener, app()).await.unwrap();
        });
        client(&net, async move || {
            let client = each_on_its_own(in_the_syn());
            for _ in 0..2 {
                let (_, verdict, arrived) = ask(&client, server).await;
                assert_eq!((verdict.outcome, arrived), (Outcome::Fallback, 0), "{verdict}");
            }
        });
    });
}

#[test]
fn unusable_uris_and_refused_connections_are_errors() {
    isolated(|| {
        let net = network();
        client(&net, async || {
            let client = each_on_its_own(in_the_syn());
            let closed = format!("http://{}:9/", Network::server_address(false));
            let error = client.get(closed.parse().unwrap()).await.expect_err("it is closed");
            assert!(error.is_connect(), "{error:?}");
            let closed = format!("http://[{}]:9/", Network::server_address(true));
            let error = client.get(closed.parse().unwrap()).await.expect_err("it is closed");
            assert!(format!("{error:?}").contains("ConnectionRefused"), "{error:?}");
        });
    });
}

#[test]
fn each_connection_is_reported_to_the_caller() {
    isolated(|| {
        let net = network();
        let server = axum_server(&net);
        let (report, handshakes) = mpsc::channel();
        client(&net, async move || {
            let connector =
                in_the_syn().nodelay(true).on_connect(move |it| report.send(it).unwrap());
            let client = each_on_its_own(connector);
            ask(&client, server).await;
            ask(&client, server).await;
            let outcomes = handshakes.try_iter().map(|it| it.verdict().unwrap().outcome);
            let outcomes: Vec<_> = outcomes.collect();
            assert_eq!(outcomes, [Outcome::CookieGranted, Outcome::FastOpen]);
        });
    });
}
