//! Two transports on loopback: what arrives, what is lost, and who hears of it.

mod common;

use std::{collections::HashMap, sync::Arc};

use common::{Book, Delivery, Node, identity, own_address, within};
use flotilla_base::{ClusterId, Incarnation, PeerId, RegionId, StoreId};
use flotilla_proto::raft::{Beats, RaftBatch, RaftEnvelope, StreamDone};
use flotilla_transport::{Identity, Limits, Target};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tonic::{Code, codegen::http::uri::PathAndQuery, transport::Endpoint};

const TARGET: Target = Target { region: RegionId(1), peer: PeerId(12) };

async fn pair() -> (Node, Node) {
    let book = Arc::new(Book::default());
    let first = Node::start(identity(1, 1), own_address(), &book).await;
    let second = Node::start(identity(2, 1), own_address(), &book).await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_within_a_region() {
    const EACH: u64 = 2000;
    let (first, mut second) = pair().await;
    for index in 1..=EACH {
        for region in 1..=3 {
            first.send(2, first.append(2, region, index, 100));
        }
        if index % 7 == 0 {
            first.peers.flush();
        }
    }
    first.peers.flush();
    let mut latest = HashMap::new();
    while latest.values().sum::<u64>() < 3 * EACH {
        let Delivery { from, incarnation, envelopes } = second.delivery().await;
        assert_eq!((from, incarnation), (StoreId(1), Incarnation(1)));
        assert!(envelopes.is_sorted_by_key(|envelope| envelope.region_id), "grouped by region");
        for envelope in envelopes {
            let index = envelope.message.expect("sent with one").index;
            let before = latest.insert(envelope.region_id, index).unwrap_or(0);
            assert_eq!(index, before + 1, "region {}", envelope.region_id);
        }
    }
    let stats = first.peers.stats();
    assert_eq!((stats.sent_messages.get(), stats.queued_bytes.get()), (3 * EACH, 0));
    assert_eq!(stats.connects.get(), 1, "one lane, one connection");
    second.stop().await;
    first.stop().await;
}

/// A server that takes connections and says nothing: a stopped process, or a network that went one-way.
async fn silent_server(book: &Book, store: u64) -> JoinHandle<()> {
    let address = own_address();
    let listener = TcpListener::bind(&address).await.expect("an address of its own");
    book.set(StoreId(store), &address);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _address)) = listener.accept().await {
            held.push(stream);
        }
    })
}

#[tokio::test]
async fn a_half_open_connection_is_noticed() {
    let book = Arc::new(Book::default());
    let mut first = Node::start(identity(1, 1), own_address(), &book).await;
    let silent = silent_server(&book, 2).await;
    first.send(2, first.heartbeat(2, 1));
    first.peers.flush();
    assert_eq!(first.reported().await, (StoreId(2), vec![TARGET]));
    assert_eq!(first.peers.stats().connects.get(), 1, "it was connected");
    silent.abort();
}

#[tokio::test]
async fn a_full_queue_drops_entries_and_says_so() {
    let book = Arc::new(Book::default());
    let small = Limits { queue_bytes: 100_000, batch_bytes: 50_000, ..Limits::default() };
    let mut first = Node::with_limits(identity(1, 1), own_address(), &book, small).await;
    let silent = silent_server(&book, 2).await;
    for index in 0..1000 {
        first.send(2, first.append(2, 1, index, 1000));
    }
    let stats = first.peers.stats();
    assert!(stats.queued_bytes.get() <= 100_000);
    assert!(stats.dropped_full.get() >= 900);
    first.peers.flush();
    assert_eq!(first.reported().await, (StoreId(2), vec![TARGET]));
    silent.abort();
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let book = Arc::new(Book::default());
    let stranger = Identity { cluster_id: ClusterId(78), ..identity(1, 1) };
    let mut first = Node::start(stranger, own_address(), &book).await;
    let second = Node::start(identity(2, 1), own_address(), &book).await;
    first.send(2, first.heartbeat(2, 1));
    first.peers.flush();
    assert_eq!(first.reported().await, (StoreId(2), vec![TARGET]));
    assert!(!second.has_delivery());
    assert_eq!(second.peers.stats().broken_streams.get(), 1);
}

#[tokio::test]
async fn another_store_at_the_address_is_refused() {
    let (mut first, second) = pair().await;
    let book = Arc::new(Book::default());
    let mut caller = Node::start(identity(3, 1), own_address(), &book).await;
    // The book is out of date: store 4 is said to live where store 2 does.
    book.set(StoreId(4), &second.address);
    caller.send(4, caller.heartbeat(4, 1));
    caller.peers.flush();
    let target = |peer| Target { region: RegionId(1), peer: PeerId(peer) };
    assert_eq!(caller.reported().await, (StoreId(4), vec![target(14)]));
    assert!(!second.has_delivery());
    first.send(9, first.heartbeat(9, 1));
    first.peers.flush();
    assert_eq!(first.reported().await, (StoreId(9), vec![target(19)]), "no address known");
}

#[tokio::test]
async fn a_restarted_store_is_reached_again() {
    let book = Arc::new(Book::default());
    let mut first = Node::start(identity(1, 1), own_address(), &book).await;
    let mut second = Node::start(identity(2, 1), own_address(), &book).await;
    first.send_until_delivered(&mut second).await;
    let address = second.address.clone();
    second.stop().await;
    first.send(2, first.heartbeat(2, 1));
    first.peers.flush();
    assert_eq!(first.reported().await, (StoreId(2), vec![TARGET]));

    let mut second = Node::start(identity(2, 2), address, &book).await;
    first.send_until_delivered(&mut second).await;
    let delivery = second.send_until_delivered(&mut first).await;
    assert_eq!(delivery.incarnation, Incarnation(2));
}

#[tokio::test]
async fn an_earlier_run_is_refused() {
    let book = Arc::new(Book::default());
    let mut second = Node::start(identity(2, 1), own_address(), &book).await;
    let mut early = Node::start(identity(1, 1), own_address(), &book).await;
    early.send_until_delivered(&mut second).await;
    let late = Node::start(identity(1, 2), own_address(), &book).await;
    while late.send_until_delivered(&mut second).await.incarnation == Incarnation(1) {}
    while second.has_delivery() {
        second.delivery().await;
    }
    early.send(2, early.heartbeat(2, 1));
    early.peers.flush();
    assert_eq!(early.reported().await, (StoreId(2), vec![TARGET]));
    while second.has_delivery() {
        assert_eq!(second.delivery().await.incarnation, Incarnation(2));
    }
}

/// Sleeping regions campaign by it: it names the run of its store, and is not taken of a stranger, or of a run that has
/// ended.
#[tokio::test]
async fn a_sign_of_life_is_of_one_run_of_one_store() {
    let book = Arc::new(Book::default());
    let first = Node::start(identity(1, 3), own_address(), &book).await;
    let mut second = Node::start(identity(2, 1), own_address(), &book).await;
    let sign = first.sign_of_life(2);
    // Of a store and of a region at once; of neither.
    first.send(2, RaftEnvelope { region_id: 5, ..sign.clone() });
    first.send(2, RaftEnvelope { region_id: 0, ..first.heartbeat(2, 1) });
    first.send(2, sign.clone());
    first.peers.flush();
    let heard = second.delivery().await;
    let expected =
        Delivery { from: StoreId(1), incarnation: Incarnation(3), envelopes: vec![sign] };
    assert_eq!(heard, expected);
    assert_eq!(second.peers.stats().dropped_refused.get(), 2);

    let of_another_cluster = Identity { cluster_id: ClusterId(78), ..identity(3, 4) };
    for stranger in [of_another_cluster, identity(1, 2)] {
        let mut stranger = Node::start(stranger, own_address(), &book).await;
        stranger.send(2, stranger.sign_of_life(2));
        stranger.peers.flush();
        assert_eq!(stranger.reported().await.0, StoreId(2), "it was refused");
        assert!(!second.has_delivery());
    }
    assert_eq!(second.peers.stats().broken_streams.get(), 2);
}

#[tokio::test]
async fn a_filter_works_one_way() {
    let (mut first, mut second) = pair().await;
    let one_way = |from: StoreId, _to: StoreId, _envelope: &RaftEnvelope| from != StoreId(1);
    first.peers.set_filter(Some(Arc::new(one_way)));
    first.send(2, first.heartbeat(2, 1));
    first.peers.flush();
    let delivery = second.send_until_delivered(&mut first).await;
    assert_eq!(delivery.from, StoreId(2), "the other way is open");
    first.peers.set_filter(None);
    first.send(2, first.heartbeat(2, 7));
    first.peers.flush();
    assert_eq!(second.delivery().await.envelopes[0].region_id, 7, "region 1 was lost");

    let only_region_8 = |_from, _to, envelope: &RaftEnvelope| envelope.region_id == 8;
    second.peers.set_filter(Some(Arc::new(only_region_8)));
    first.send(2, first.heartbeat(2, 1));
    first.send(2, first.heartbeat(2, 8));
    first.peers.flush();
    let regions = second.delivery().await.envelopes.iter().map(|e| e.region_id).collect::<Vec<_>>();
    assert_eq!(regions, [8], "it also works at the receiving end");
}

/// On the wire not a batch: its field 1 is a number.
#[derive(Clone, PartialEq, prost::Message)]
struct NotABatch {
    #[prost(uint64, tag = "1")]
    number: u64,
}

async fn call<M>(address: &str, metadata: &[(&'static str, &str)], message: M) -> Code
where
    M: prost::Message + Default + Clone + 'static,
{
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("address");
    let channel = endpoint.connect().await.expect("the server runs");
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("connected");
    let mut request = tonic::Request::new(tokio_stream::iter([message]));
    for (key, value) in metadata {
        request.metadata_mut().insert(*key, value.parse().expect("text"));
    }
    let codec = tonic_prost::ProstCodec::<M, StreamDone>::default();
    let path = PathAndQuery::from_static("/flotilla.raft.Raft/Stream");
    let called = client.client_streaming(request, path, codec);
    within("an answer", called).await.expect_err("must be refused").code()
}

/// Every id that is kept costs memory, a queue and signs of life for ever.
#[tokio::test]
async fn whoever_is_no_store_of_the_cluster_is_refused() {
    let book = Arc::new(Book::default());
    let second = Node::start(identity(2, 1), own_address(), &book).await;
    let hello = |from: &'static str| {
        [
            ("flotilla-cluster-id", "77"),
            ("flotilla-from-store", from),
            ("flotilla-to-store", "2"),
            ("flotilla-incarnation", "1"),
            ("flotilla-protocol", "2"),
        ]
    };
    let garbage = NotABatch { number: 300 };
    for stranger in ["9", "10", "18446744073709551615"] {
        let refused = call(&second.address, &hello(stranger), garbage.clone()).await;
        assert_eq!(refused, Code::Unavailable, "store {stranger}");
    }
    book.set(StoreId(9), "127.0.0.1:1");
    let refused = call(&second.address, &hello("9"), garbage.clone()).await;
    assert_eq!(refused, Code::Internal, "it is known now; no batch");
    book.forget(StoreId(9));
    let refused = call(&second.address, &hello("9"), garbage).await;
    assert_eq!(refused, Code::Internal, "it has called before, and nobody is asked");
}

#[tokio::test]
async fn garbage_ends_one_stream_and_nothing_else() {
    let (first, mut second) = pair().await;
    let mut raw = TcpStream::connect(&second.address).await.expect("the server runs");
    raw.write_all(&[0xff; 4096]).await.expect("written");
    let garbage = NotABatch { number: 300 };
    let refused = call(&second.address, &[], garbage.clone()).await;
    assert_eq!(refused, Code::InvalidArgument, "no metadata");
    let hello = [
        ("flotilla-cluster-id", "77"),
        ("flotilla-from-store", "1"),
        ("flotilla-to-store", "2"),
        ("flotilla-incarnation", "1"),
        ("flotilla-protocol", "2"),
    ];
    let refused = call(&second.address, &hello, garbage.clone()).await;
    assert_eq!(refused, Code::Internal, "no batch");
    let uneven = Beats { region_ids: vec![1], ..Beats::default() };
    let uneven = RaftBatch { heartbeats: Some(uneven), ..RaftBatch::default() };
    let refused = call(&second.address, &hello, uneven).await;
    assert_eq!(refused, Code::InvalidArgument, "a region, and no peer");
    let newer = [hello[0], hello[1], hello[2], hello[3], ("flotilla-protocol", "3")];
    assert_eq!(call(&second.address, &newer, garbage).await, Code::FailedPrecondition);
    assert!(!second.has_delivery());
    assert_eq!(second.peers.stats().broken_streams.get(), 4);
    let unsound = RaftEnvelope { message: None, ..first.heartbeat(2, 5) };
    first.send(2, unsound);
    first.send_until_delivered(&mut second).await;
    assert_eq!(second.peers.stats().dropped_refused.get(), 1, "left out, the stream goes on");
}
