//! Connecting that is given up leaves nothing behind.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Waker};

use tfo_core::lab::isolated;
use tfo_core::tokio::{Connector, FastOpenStream};
use tokio::io::AsyncWriteExt;

use crate::support::{client, echo, fetch_cookie, network, serve_each};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("this process").count()
}

/// Polls a future once, and drops it.
fn begin(future: impl Future) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn cancelled_connections_leak_no_descriptor() {
    isolated(|| {
        let net = network();
        let (server, _arrivals) = serve_each(&net, echo);
        client(&net, async move || {
            // Nobody answers here: each attempt is pending when it is dropped.
            let silent = SocketAddr::from(([192, 0, 2, 77], 9));
            let before = descriptors();
            let mut pending = 0;
            for round in 0..5_000 {
                let ready = if round % 2 == 0 {
                    begin(FastOpenStream::connect(silent, b"hello"))
                } else {
                    begin(FastOpenStream::connect_on_write(silent))
                };
                pending += usize::from(!ready);
                if round % 500 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            assert_eq!(pending, 5_000);

            fetch_cookie(server).await;
            let first = Connector::default().client_speaks_first(true);
            for round in 0..5_000 {
                let mut stream = first.connect_on_write(server).await.expect("it is deferred");
                if round % 2 == 0 {
                    stream.write_all(b"never flushed").await.expect("it is held");
                    let _ = begin(stream.flush());
                }
            }
            tokio::task::yield_now().await;
            assert!(descriptors() <= before + 1, "{before} before, {} now", descriptors());
        });
    });
}
