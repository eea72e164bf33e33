//! The client port under bad input, its HTTP interface, and starts that must fail.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use flotilla_damage::damaged;
use flotilla_pd::{Pd, PdError};
use flotilla_proto::pdpb::{GetMembersRequest, PutStoreResponse, pd_client::PdClient};
use flotilla_telemetry::Registry;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{codegen::http::uri::PathAndQuery, transport::Endpoint};

use crate::support::{Clients, LIVENESS, config, own_address, start};

/// Status and body of one request.
async fn http(address: SocketAddr, method: &str, path: &str) -> Result<(u16, String)> {
    asked(address, method, path.as_bytes()).await
}

async fn asked(address: SocketAddr, method: &str, target: &[u8]) -> Result<(u16, String)> {
    let end = b" HTTP/1.1\r\nHost: pd\r\nConnection: close\r\n\r\n";
    exchange(address, &[method.as_bytes(), b" ", target, end].concat()).await
}

/// The same with a body.
pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, String)> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: pd\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    exchange(address, &[head.as_bytes(), body.as_bytes()].concat()).await
}

async fn exchange(address: SocketAddr, request: &[u8]) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = String::new();
    timeout(LIVENESS, stream.read_to_string(&mut answer)).await??;
    let (head, body) = answer.split_once("\r\n\r\n").context("a head")?;
    let code = head.split(' ').nth(1).context("a status line")?.parse()?;
    Ok((code, body.to_owned()))
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<(u16, Value)> {
    let (code, body) = http(address, "GET", path).await?;
    Ok((code, serde_json::from_str(&body).with_context(|| body)?))
}

#[tokio::test]
async fn http_shapes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 3).await?;
    let address = pd.address();
    let mut clients = Clients::connect(pd.client_url()).await?;
    let (code, error) = get(address, "/pd/api/v1/regions").await?;
    assert_eq!(code, 500);
    assert!(error.as_str().is_some_and(|text| text.contains("not bootstrapped")), "{error}");
    let planned = clients.bootstrap(3).await?;
    let cluster = json!({ "id": clients.cluster_id, "max_peer_count": 3 });
    assert_eq!(get(address, "/pd/api/v1/cluster").await?, (200, cluster));
    let (_, members) = get(address, "/pd/api/v1/members").await?;
    assert_eq!(members["header"]["cluster_id"].as_u64(), Some(clients.cluster_id));
    assert_eq!(members["leader"]["client_urls"], json!([pd.client_url()]));
    let (_, health) = get(address, "/pd/api/v1/health").await?;
    assert_eq!(health[0]["health"], json!(true));
    let (_, version) = get(address, "/pd/api/v1/version").await?;
    assert!(version["version"].as_str().is_some_and(|text| text.starts_with("v8.5.0-flotilla-")));
    let (_, stores) = get(address, "/pd/api/v1/stores").await?;
    assert_eq!(stores["count"], json!(3));
    let id = stores["stores"][0]["store"]["id"].as_u64().context("id")?;
    let (_, store) = get(address, &format!("/pd/api/v1/store/{id}")).await?;
    assert_eq!(store["store"]["state_name"], json!("Up"));
    assert_eq!(store["status"]["capacity"], json!("0B"));
    assert_eq!(get(address, "/pd/api/v1/store/4711").await?.0, 404);
    for no_id in ["x", "%A1", "%"] {
        let (code, error) = get(address, &format!("/pd/api/v1/store/{no_id}")).await?;
        assert_eq!(code, 400, "{no_id}");
        let told = error.as_str().context("a text")?;
        assert!(told.starts_with("[PD:strconv:ErrStrconvParseUint]"), "{told}");
    }

    let region = planned[0].region.clone().context("region")?;
    let beat = flotilla_proto::pdpb::RegionHeartbeatRequest {
        header: clients.header(),
        leader: region.peers.first().cloned(),
        region: Some(region.clone()),
        approximate_size: 3 << 20,
        term: 6,
        ..Default::default()
    };
    let stream = clients.pd.region_heartbeat(tokio_stream::iter([beat])).await?;
    assert_eq!(stream.into_inner().message().await?, None);
    let path = format!("/pd/api/v1/region/id/{}", region.id);
    let (_, info) = get(address, &path).await?;
    assert_eq!(info["approximate_size"], json!(3));
    assert_eq!(info["end_key"].as_str().map(str::len), Some(2 * region.end_key.len()));
    assert!(info["end_key"].as_str().is_some_and(|key| key.starts_with("FFFFFFFF")));
    assert_eq!(info["peers"][0]["role_name"], json!("Voter"));
    assert_eq!(get(address, "/pd/api/v1/region/id/4711").await?, (200, Value::Null));
    let (_, regions) = get(address, "/pd/api/v1/regions").await?;
    assert_eq!(regions["count"], json!(1));
    assert_eq!(http(address, "HEAD", "/pd/api/v1/regions").await?.0, 405);
    assert_eq!(http(address, "GET", "/pd/api/v1/ping").await?, (200, String::new()));
    assert_eq!(get(address, "/pd/api/v1/nonsense").await?.0, 404);
    let (code, metrics) = http(address, "GET", "/metrics").await?;
    assert_eq!(code, 200);
    for line in ["flotilla_pd_is_leader 1", "flotilla_pd_stores 3", "flotilla_pd_regions 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    Ok(pd.shutdown().await?)
}

/// Paths and queries that mean something.
const TARGETS: [&str; 14] = [
    "/pd/api/v1/region/key/%00%FF?format=hex",
    "/pd/api/v1/regions/key?key=61&end_key=%62&limit=7&format=hex",
    "/pd/api/v1/regions/store/1?type=leader&limit=1",
    "/pd/api/v1/regions/check/miss-peer",
    "/pd/api/v1/regions/size?limit=3",
    "/pd/api/v1/stores?state=Up&state=tombstone",
    "/pd/api/v1/store/1001",
    "/pd/api/v1/store/%31%30%30%31",
    "/pd/api/v1/region/id/18446744073709551615",
    "/pd/api/v1/regions/count",
    "/pd/api/v1/cluster/status",
    "http://pd/pd/api/v1/members",
    "/metrics",
    "/readyz?verbose#end",
];

/// Whatever is asked for, the answer says whether there is such a thing; what is served is JSON or text.
#[test]
fn damaged_paths_are_answered() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let dir = tempfile::tempdir()?;
    let pd = runtime.block_on(async {
        let pd = start(dir.path(), own_address(), 1).await?;
        Clients::connect(pd.client_url()).await?.bootstrap(1).await?;
        anyhow::Ok(pd)
    })?;
    let targets = TARGETS.map(|target| target.as_bytes().to_vec()).to_vec();
    let outcome =
        TestRunner::default().run(&damaged(prop::sample::select(targets)), |mut target| {
            // One line with three words is a request, whatever the second one is.
            target.retain(|byte| *byte > b' ');
            let shown = String::from_utf8_lossy(&target).into_owned();
            let (code, body) =
                runtime.block_on(asked(pd.address(), "GET", &target)).expect("an answer");
            prop_assert!(code == 200 || (400..500).contains(&code), "{}: {} {}", shown, code, body);
            let is_json = serde_json::from_str::<Value>(&body).is_ok();
            prop_assert!(
                is_json || body.is_empty() || body.starts_with("# HELP"),
                "{}: {}",
                shown,
                body
            );
            Ok(())
        });
    outcome.expect("no path breaks the interface");
    Ok(runtime.block_on(pd.shutdown())?)
}

#[tokio::test]
async fn garbage_and_half_open_connections_harm_nobody() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let garbage: [&[u8]; 5] = [
        &[0xff; 4096],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\nXX",
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(pd.address()).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        // Whatever it says, it hangs up.
        let _reset_is_fine = timeout(LIVENESS, stream.read_to_end(&mut answer)).await?;
    }
    let mut half_open = Vec::new();
    for prefix in [&b""[..], b"PRI * HTTP/2.0", b"GET /pd/api/v1/mem"] {
        let mut stream = TcpStream::connect(pd.address()).await?;
        stream.write_all(prefix).await?;
        half_open.push(stream);
    }
    assert!(clients.timestamp(1).await? > 0, "others are served meanwhile");
    for mut stream in half_open {
        let mut answer = Vec::new();
        let _reset_is_fine = timeout(LIVENESS, stream.read_to_end(&mut answer))
            .await
            .context("a half-open connection is cut")?;
    }
    assert!(clients.timestamp(1).await? > 0);
    Ok(pd.shutdown().await?)
}

#[tokio::test]
async fn messages_without_their_content_are_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    clients.bootstrap(1).await?;
    let request = flotilla_proto::pdpb::PutStoreRequest { header: clients.header(), store: None };
    let refused = clients.pd.put_store(request).await.expect_err("no store");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let request =
        flotilla_proto::pdpb::StoreHeartbeatRequest { header: clients.header(), stats: None };
    let refused = clients.pd.store_heartbeat(request).await.expect_err("no stats");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(clients.timestamp(1).await? > 0);
    Ok(pd.shutdown().await?)
}

/// Field 1 of every request here is a message; on the wire, this is a number.
#[derive(Clone, PartialEq, prost::Message)]
struct NoRequest {
    #[prost(uint64, tag = "1")]
    number: u64,
}

#[tokio::test]
async fn what_does_not_decode_ends_its_call_and_nothing_else() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let channel = Endpoint::from_shared(pd.client_url().to_owned())?.connect().await?;
    for path in
        ["/pdpb.PD/PutStore", "/pdpb.PD/GetRegion", "/pdpb.PD/Tso", "/pdpb.PD/RegionHeartbeat"]
    {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await?;
        let requests = tonic::Request::new(tokio_stream::iter([NoRequest { number: 300 }]));
        let codec = tonic_prost::ProstCodec::<NoRequest, PutStoreResponse>::default();
        let called = client.streaming(requests, PathAndQuery::from_static(path), codec);
        let refused = match timeout(LIVENESS, called).await? {
            Ok(answers) => {
                let answer = timeout(LIVENESS, answers.into_inner().message()).await?;
                answer.expect_err("must be refused")
            }
            Err(status) => status,
        };
        assert_eq!(refused.code(), tonic::Code::Internal, "{path}: {refused}");
    }
    // On the same connection, and on another one.
    let mut same = PdClient::new(channel);
    let members = same.get_members(GetMembersRequest::default()).await?.into_inner();
    assert_eq!(members.members.len(), 1);
    assert!(clients.timestamp(1).await? > 0);
    Ok(pd.shutdown().await?)
}

/// The stream is open, and a lookup waits for the report that only comes on it.
#[tokio::test]
async fn a_call_that_is_under_way_at_the_stop_gets_its_answer() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pd = start(dir.path(), own_address(), 1).await?;
    let address = pd.address();
    let mut clients = Clients::connect(pd.client_url()).await?;
    let planned = clients.bootstrap(1).await?;
    let region = planned[0].region.clone().context("region")?;
    let (reports, stream) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let opened = clients.pd.region_heartbeat(stream).await?;
    let header = clients.header();
    let mut asking = clients.clone();
    let asked = tokio::spawn(async move {
        let request = flotilla_proto::pdpb::GetRegionRequest {
            header: asking.header(),
            ..Default::default()
        };
        asking.pd.get_region(request).await
    });
    // Of two calls on one connection, the later one is answered: the first one has arrived.
    tokio::task::yield_now().await;
    assert!(clients.timestamp(1).await? > 0);
    let stopping = tokio::spawn(pd.shutdown());
    // Nobody is let in any more.
    timeout(LIVENESS, async { while TcpStream::connect(address).await.is_ok() {} }).await?;
    let beat = flotilla_proto::pdpb::RegionHeartbeatRequest {
        header,
        leader: region.peers.first().cloned(),
        region: Some(region.clone()),
        term: 6,
        ..Default::default()
    };
    reports.send(beat).await?;
    let answer = timeout(LIVENESS, asked).await??.context("an answer")?.into_inner();
    assert_eq!(answer.region.context("the region")?.id, region.id);
    drop(opened);
    Ok(stopping.await??)
}

#[tokio::test]
async fn starts_that_cannot_be_say_why_and_touch_nothing() -> Result<()> {
    let (dir, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let address = own_address();
    let pd = start(dir.path(), address, 1).await?;
    let registry = Registry::new;
    let taken = Pd::start(config(other.path(), address, 1), &registry()).await;
    assert!(matches!(taken, Err(PdError::AddressInUse(at)) if at == address));
    assert_eq!(std::fs::read_dir(other.path())?.count(), 0, "nothing was touched");
    let in_use = Pd::start(config(dir.path(), own_address(), 1), &registry()).await;
    let text = in_use.err().context("in use")?.to_string();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    let no_replicas = Pd::start(config(other.path(), own_address(), 0), &registry()).await;
    assert!(matches!(no_replicas, Err(PdError::Config(_))));
    std::fs::write(other.path().join("holiday.jpg"), b"sand")?;
    let foreign = Pd::start(config(other.path(), own_address(), 1), &registry()).await;
    assert!(matches!(foreign, Err(PdError::DataDir(_))));
    pd.shutdown().await?;
    let again = start(dir.path(), address, 1).await?;
    Ok(again.shutdown().await?)
}
