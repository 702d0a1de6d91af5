//! An axum server and a hyper client that use fast open, and the verdict of each response.
//!
//! `cargo run -p tfo-core --features axum,hyper --example web`
//!
//! Three lines differ from a program without fast open; they are marked.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;

use axum::Router;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tfo_core::hyper::FastOpenConnector;
use tfo_core::tokio::{FastOpenListener, Handshake};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = FastOpenListener::from_tokio(listener)?; // new
    let app = Router::new().route("/", get(async || "hello"));
    tokio::spawn(async { axum::serve(listener, app).await });

    let connector = FastOpenConnector::new().allow_in_syn(true); // instead of HttpConnector::new()
    let client: Client<_, Empty<&[u8]>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    for _ in 0..3 {
        let response = client.get(format!("http://{address}/").parse()?).await?;
        let verdict = response.extensions().get::<Handshake>().and_then(Handshake::verdict); // new
        let body = response.into_body().collect().await?.to_bytes();
        print!("{}: ", String::from_utf8_lossy(&body));
        match verdict {
            Some(verdict) => println!("{}: {verdict}", verdict.outcome),
            None => println!("no verdict"),
        }
    }
    Ok(())
}
