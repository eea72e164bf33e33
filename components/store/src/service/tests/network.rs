//! The server on a real socket, and what strangers send to it.

use std::{net::SocketAddr, time::Duration};

use flotilla_proto::{
    health::{HealthCheckRequest, health_client::HealthClient},
    tikvpb::tikv_client::TikvClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tonic::{
    Code,
    codec::CompressionEncoding,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

use super::*;
use crate::service::server::{client_routes, serve};

/// Nothing that is waited for takes so long unless it never comes.
const LIVENESS: Duration = Duration::from_secs(30);

/// An address that no other test of any process uses.
fn address() -> SocketAddr {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let last = u8::try_from(NEXT.fetch_add(1, Ordering::SeqCst)).expect("few tests");
    SocketAddr::from(([127, high | 0x80, low, last], crate::config::SERVICE_PORT))
}

async fn start(
    fixture: &Fixture,
) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(address()).await.expect("an address");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(serve(listener, client_routes(parts(&fixture.played)), stopped));
    (address, stop, served)
}

#[tokio::test]
async fn strangers_are_sent_away_and_clients_served() {
    let fixture = Fixture::new();
    let (address, stop, served) = start(&fixture).await;
    let silent = TcpStream::connect(address).await.expect("connected");
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xff; 4096], b"PRI * HTTP/2.0\r\nno"] {
        let mut stranger = TcpStream::connect(address).await.expect("connected");
        // The server may have closed before all was sent.
        let _sent = stranger.write_all(garbage).await;
        let mut rest = Vec::new();
        let closed = timeout(LIVENESS, stranger.read_to_end(&mut rest)).await;
        let _closed_or_reset = closed.expect("closed by the server");
    }
    let mut half = TcpStream::connect(address).await.expect("connected");
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12").await.expect("sent");
    drop(half);

    let channel = Endpoint::from_shared(format!("http://{address}"));
    let channel = channel.expect("an address").connect().await.expect("connected");
    let checked = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    assert_eq!(checked.expect("an answer").into_inner().status, 1, "serving");
    let mut client = TikvClient::new(channel).send_compressed(CompressionEncoding::Gzip);
    let value = Bytes::from(vec![b'v'; 6 << 20]);
    let (context, key) = (Some(context()), Bytes::from("c"));
    let put = kvrpcpb::RawPutRequest {
        context: context.clone(),
        key: key.clone(),
        value: value.clone(),
        ..kvrpcpb::RawPutRequest::default()
    };
    assert_eq!(done(client.raw_put(put).await), Default::default());
    let mut client = client.max_decoding_message_size(16 << 20);
    let get = kvrpcpb::RawGetRequest { context, key, ..Default::default() };
    assert!(done(client.raw_get(get).await).value == value);
    let unknown = client.raw_batch_scan(kvrpcpb::RawBatchScanRequest::default()).await;
    assert_eq!(unknown.expect_err("not served yet").code(), Code::Unimplemented);

    stop.send_replace(true);
    timeout(LIVENESS, served).await.expect("ends with open connections").expect("no panic");
    drop(silent);
}

/// Field 1 of every request here is a message; on the wire, this is a number.
#[derive(Clone, PartialEq, prost::Message)]
struct NoRequest {
    #[prost(uint64, tag = "1")]
    number: u64,
}

async fn send_no_request(channel: &Channel, path: &'static str) -> Status {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("connected");
    let requests = Request::new(tokio_stream::iter([NoRequest { number: 300 }]));
    let codec = tonic_prost::ProstCodec::<NoRequest, kvrpcpb::RawPutResponse>::default();
    let called = client.streaming(requests, PathAndQuery::from_static(path), codec).await;
    match called {
        Ok(answers) => answers.into_inner().message().await.expect_err("must be refused"),
        Err(status) => status,
    }
}

#[tokio::test]
async fn what_does_not_decode_ends_its_call_and_nothing_else() {
    let fixture = Fixture::new();
    let (address, stop, served) = start(&fixture).await;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = endpoint.connect().await.expect("connected");
    for path in [
        "/tikvpb.Tikv/RawPut",
        "/tikvpb.Tikv/RawGet",
        "/tikvpb.Tikv/RawScan",
        "/tikvpb.Tikv/BatchCommands",
    ] {
        let status = timeout(LIVENESS, send_no_request(&channel, path)).await.expect("an answer");
        assert_eq!(status.code(), Code::Internal, "{path}: {status}");
        assert_eq!(fixture.proposed(), 0, "{path}");
    }
    // On the same connection.
    let (context, key, value) = (Some(context()), "c".into(), "v".into());
    let put = kvrpcpb::RawPutRequest { context, key, value, ..Default::default() };
    assert_eq!(done(TikvClient::new(channel).raw_put(put).await), Default::default());
    stop.send_replace(true);
    timeout(LIVENESS, served).await.expect("ends").expect("no panic");
}
