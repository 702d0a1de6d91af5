//! What the connectors remember of paths that break fast open.

use std::io;
use std::time::Duration;

use tfo_core::diagnosis::{Cause, Outcome};
use tfo_core::dialer::{Dialer, Message, PathMemory};
use tfo_core::host::Counters;
use tfo_core::hyper::FastOpenConnector;
use tfo_core::lab::{Middlebox, isolated};
use tfo_core::socket::Attempt;
use tfo_core::tokio::{Connector, FastOpenStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::{ask, axum_server, each_on_its_own};
use crate::support::{client, echo, fetch_cookie, network, serve_each};

fn retransmitted_syns() -> u64 {
    Counters::read().expect("anybody may read them").syn_retrans
}

#[test]
fn path_that_drops_syn_data_costs_one_retransmission_once() {
    isolated(|| {
        let net = network();
        let server = axum_server(&net);
        let connector = FastOpenConnector::new().allow_in_syn(true);
        let http = each_on_its_own(connector);
        let before = http.clone();
        client(&net, async move || assert_eq!(ask(&before, server).await.2, 0));
        net.set_boxes(&[Middlebox::DropSynData]);
        client(&net, async move || {
            let mut found = Vec::new();
            for _ in 0..4 {
                let before = retransmitted_syns();
                let (handshake, verdict, arrived) = ask(&http, server).await;
                assert_eq!(arrived, 0);
                if verdict.cause == Some(Cause::PausedByProgram) {
                    assert_eq!(handshake.attempt(), Some(Attempt::Paused));
                    assert!(verdict.finding.contains(&server.to_string()), "{verdict}");
                }
                found.push((verdict.outcome, verdict.cause, retransmitted_syns() - before));
            }
            let paused = (Outcome::NotAttempted, Some(Cause::PausedByProgram), 0);
            let lost = (Outcome::Fallback, Some(Cause::SynRetransmitted), 1);
            assert_eq!(found, [lost, paused, paused, paused]);
        });
    });
}

#[test]
fn memory_is_shared_by_hyper_tokio_and_a_dialer() {
    isolated(|| {
        let net = network();
        let server = axum_server(&net);
        client(&net, async move || fetch_cookie(server).await);
        net.set_boxes(&[Middlebox::ResetSynData]);
        client(&net, async move || {
            let memory = PathMemory::new();
            let http = each_on_its_own(FastOpenConnector::new().allow_in_syn(true).memory(&memory));
            let uri = || format!("http://{server}/").parse().expect("a URI");
            http.get(uri()).await.expect_err("its SYN is reset, and no other one is sent");
            let (_, verdict, _) = ask(&http, server).await;
            assert_eq!(verdict.cause, Some(Cause::PausedByProgram));
            let entries = memory.entries();
            assert_eq!((entries.len(), entries[0].destination), (1, server));

            let connector = Connector::default().memory(&memory).client_speaks_first(true);
            let stream = connector.clone().connect_on_write(server).await.expect("regular");
            assert_eq!(stream.handshake().attempt(), Some(Attempt::Paused));
            let stream = connector.connect(server, b"GET").await.expect("regular");
            assert_eq!(stream.handshake().attempt(), Some(Attempt::Paused));
            let stream = Dialer::new().memory(&memory).dial(server, Message::idempotent(b"GET"));
            assert_eq!(stream.expect("regular").attempt(), Some(Attempt::Paused));
            let stream = FastOpenStream::connect(server, b"GET").await;
            assert!(stream.is_err(), "it has no memory: {stream:?}");
        });
    });
}

#[test]
fn failed_first_bytes_pause_and_a_trial_ends_it() {
    isolated(|| {
        let net = network();
        let (server, _arrivals) = serve_each(&net, echo);
        client(&net, async move || fetch_cookie(server).await);
        net.set_boxes(&[Middlebox::ResetSynData]);
        // Each pause is over at once: the next connection is a trial.
        let memory = PathMemory::with_pause(Duration::ZERO);
        let connector = Connector::default().memory(&memory);
        let doublings = || memory.entries().first().map(|entry| entry.doublings);
        let (again, refused) = (connector.clone(), io::ErrorKind::ConnectionRefused);
        client(&net, async move || {
            let error = again.connect(server, b"hello").await.expect_err("reset");
            assert_eq!(error.kind(), refused);
            let mut stream = again.connect_on_write(server).await.expect("deferred");
            stream.write_all(b"hello").await.expect("the SYN takes it");
            // The server may have executed it.
            assert_eq!(stream.handshake().attempt(), Some(Attempt::InSyn(5)));
            assert_eq!(stream.flush().await.expect_err("reset").kind(), refused);
            let stream = again.connect_on_write(server).await.expect("deferred");
            let (mut read, mut write) = stream.into_split();
            write.write_all(b"hello").await.expect("the SYN takes it");
            assert_eq!(read.read(&mut [0]).await.expect_err("reset").kind(), refused);
        });
        assert_eq!(doublings(), Some(2), "two trials have failed");
        net.set_boxes(&[]);
        client(&net, async move || {
            let mut stream = connector.connect_on_write(server).await.expect("deferred");
            let during = connector.connect(server, b"hello").await.expect("regular");
            assert_eq!(during.handshake().attempt(), Some(Attempt::Paused), "one trial at a time");
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        assert_eq!(doublings(), None);
    });
}

#[test]
fn dropped_connection_gives_its_trial_back() {
    isolated(|| {
        let net = network();
        let (server, _arrivals) = serve_each(&net, echo);
        client(&net, async move || fetch_cookie(server).await);
        client(&net, async move || {
            let memory = PathMemory::with_pause(Duration::ZERO);
            let path = memory.destination(server);
            let _ = path.permit().lost(None);
            let connector = Connector::default().memory(&memory);
            let trial = async || {
                let stream = connector.connect_on_write(server).await.expect("deferred");
                assert_eq!(stream.handshake().attempt(), None, "the SYN waits for the first write");
                assert!(!path.permit().is_granted(), "it is the trial");
                stream
            };
            // Its handle outlives each of them.
            let handshake = trial().await.handshake();
            let mut sent = trial().await;
            sent.write_all(b"hello").await.expect("the SYN takes it");
            drop(sent);
            let (read, write) = trial().await.into_split();
            drop(write);
            assert!(!path.permit().is_granted(), "the other half is there");
            drop(read);
            let trial = path.permit();
            assert!(trial.is_trial(), "{handshake:?}");
        });
    });
}
