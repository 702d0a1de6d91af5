//! tonic's client and server: HTTP/2 writes its preface, its settings and the request separately.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};

use axum::extract::ConnectInfo;
use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use tfo_core::diagnosis::Outcome;
use tfo_core::hyper::FastOpenConnector;
use tfo_core::lab::isolated;
use tfo_core::socket::{Arrival, Attempt};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{NamedService, UnaryService};
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use tower_service::Service;

use crate::support::{client, in_syn, network, serve};

/// Messages that are bytes: no generated code, and so no compiler for it.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Answers with the number of bytes that the SYN of the connection carried.
#[derive(Clone)]
struct Carried;

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl NamedService for Carried {
    const NAME: &'static str = "test.Carried";
}

impl Service<http::Request<Body>> for Carried {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(tonic::server::Grpc::new(Plain).unary(Self, request).await) })
    }
}

impl UnaryService<Vec<u8>> for Carried {
    type Response = Vec<u8>;
    type Future = Answer<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let ConnectInfo(arrival) = request.extensions().get::<ConnectInfo<Arrival>>().unwrap();
        let bytes = in_syn(arrival).to_string().into_bytes();
        Box::pin(async { Ok(Response::new(bytes)) })
    }
}

#[test]
fn first_call_rides_the_syn() {
    isolated(|| {
        let net = network();
        let server = serve(&net, async |listener| {
            let routes = Routes::new(Carried).into_axum_router();
            let service = routes.into_make_service_with_connect_info::<Arrival>();
            axum::serve(listener, service).await.unwrap();
        });
        client(&net, async move || {
            for outcome in [Outcome::CookieGranted, Outcome::FastOpen] {
                let (report, handshakes) = mpsc::channel();
                let connector = FastOpenConnector::new()
                    .allow_in_syn(true)
                    .on_connect(move |handshake| report.send(handshake).unwrap());
                let endpoint = Endpoint::from_shared(format!("http://{server}")).unwrap();
                let channel = endpoint.connect_with_connector_lazy(connector);
                let mut grpc = tonic::client::Grpc::new(channel);
                grpc.ready().await.expect("a channel");
                let path = PathAndQuery::from_static("/test.Carried/Ask");
                let request = Request::new(b"hello".to_vec());
                let answer = grpc.unary(request, path, Plain).await.expect("it answers");
                let carried: usize =
                    String::from_utf8(answer.into_inner()).unwrap().parse().unwrap();

                let handshake = handshakes.recv().unwrap();
                assert_eq!(handshake.verdict().unwrap().outcome, outcome);
                if outcome == Outcome::FastOpen {
                    assert_eq!(handshake.attempt(), Some(Attempt::InSyn(carried)));
                    // The preface has 24 bytes, the settings about 50.
                    assert!(carried > 150, "the call itself is in the SYN: {carried}");
                }
            }
        });
    });
}
