//! The status server over raw sockets: what it answers, and what it survives.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use flotilla_damage::damaged;
use flotilla_telemetry::{
    Check, Metric, Registry, StatusError, StatusRoutes, StatusServer, render,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long something that must happen may take.
const LIVENESS: Duration = Duration::from_secs(30);

/// A loopback address of its own for each server, with the usual port.
fn address() -> SocketAddr {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed) % 16 * (1 << 18);
    let [_, x, y, z] = (number + std::process::id() % (1 << 18)).to_be_bytes();
    (Ipv4Addr::new(127, 64 + x, y, z), 20180).into()
}

struct Server {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(head_timeout: Duration) -> Server {
    let registry = Registry::new();
    registry.counter(&Metric::new("flotilla_things_total", "Things.")).inc();
    let ready = Arc::new(AtomicBool::new(true));
    let is_ready = ready.clone();
    let registered =
        move || if is_ready.load(Ordering::SeqCst) { Ok(()) } else { Err("no pd".to_owned()) };
    let routes = StatusRoutes {
        metrics: Arc::new(move || render(&registry)),
        live: vec![Check::new("pollers", || Ok(()))],
        ready: vec![Check::new("registered", registered), Check::new("disk", || Ok(()))],
        config: Arc::new(|| json!({"storage": {"api-version": 1, "enable-ttl": false}})),
    };
    let address = address();
    let server = StatusServer::bind(address).await.expect("listens");
    let (stop, stopped) = oneshot::channel();
    let serving = server.with_head_timeout(head_timeout).serve(routes, async {
        stopped.await.expect("told to stop");
    });
    Server { address, ready, stop, task: tokio::spawn(serving) }
}

impl Server {
    /// Sends raw bytes and reads until the server closes the connection.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        stream.write_all(bytes).await.expect("sent");
        let mut answer = Vec::new();
        let read = timeout(LIVENESS, stream.read_to_end(&mut answer)).await.expect("closed");
        // A reset after bytes that were never read is as good as an orderly close.
        drop(read);
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn request(&self, method: &str, target: &str) -> (String, String) {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        let answer = self.raw(head.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a complete answer");
        (head.to_owned(), body.to_owned())
    }

    async fn get(&self, target: &str) -> (String, String) {
        self.request("GET", target).await
    }

    async fn stop(self) {
        self.stop.send(()).expect("listening");
        timeout(LIVENESS, self.task).await.expect("ends").expect("without a panic");
        assert!(TcpStream::connect(self.address).await.is_err(), "the port is closed");
    }
}

#[tokio::test]
async fn every_route_answers() {
    let server = start(LIVENESS).await;
    let (head, body) = server.get("/metrics").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.contains("\nflotilla_things_total 1\n"), "{body}");

    let (head, body) = server.get("/config").await;
    assert!(head.contains("application/json"), "{head}");
    let config: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(config["storage"], json!({"api-version": 1, "enable-ttl": false}));

    let (head, body) = server.get("/livez").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, "livez: ok\n");
    let (head, body) = server.request("HEAD", "/livez").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head}{body}");
    server.stop().await;
}

#[tokio::test]
async fn readiness_follows_the_checks_and_names_them() {
    let server = start(LIVENESS).await;
    assert_eq!(server.get("/readyz").await.1, "readyz: ok\n");
    let (_, body) = server.get("/readyz?verbose").await;
    let lines: Vec<&str> = body.lines().collect();
    assert!(lines[0].starts_with("[+] registered ok (") && lines[0].ends_with(" us)"), "{body}");
    assert!(lines[1].starts_with("[+] disk ok (") && lines[2] == "readyz: ok", "{body}");

    server.ready.store(false, Ordering::SeqCst);
    let (head, body) = server.get("/readyz").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(body.contains("[-] registered fail (") && body.contains(": no pd\n"), "{body}");
    assert!(body.contains("[+] disk ok") && body.ends_with("readyz: fail\n"), "{body}");
    assert!(server.get("/livez").await.0.starts_with("HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_json() {
    let server = start(LIVENESS).await;
    for (method, target, code) in [
        ("GET", "/", 404),
        ("POST", "/nothing", 404),
        ("POST", "/config", 405),
        ("PUT", "/livez", 405),
    ] {
        let (head, body) = server.request(method, target).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code}")), "{method} {target}: {head}");
        let error: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(error["error"]["code"], code);
        assert_eq!(code == 405, head.to_lowercase().contains("allow: get, head"), "{head}");
    }
    server.stop().await;
}

#[tokio::test]
async fn garbage_does_not_disturb_anybody_else() {
    let server = start(LIVENESS).await;
    let noise: Vec<u8> =
        (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let endless_head = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 100_000]].concat();
    let other_protocols: [&[u8]; 4] = [
        &noise,
        &endless_head,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ];
    for bytes in other_protocols {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        // The server may close before everything is sent.
        drop(stream.write_all(bytes).await);
        let mut answer = Vec::new();
        drop(timeout(LIVENESS, stream.read_to_end(&mut answer)).await.expect("closed"));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(server.get("/livez").await.0.starts_with("HTTP/1.1 200"));
    }
    server.stop().await;
}

/// Whatever is asked for, the answer says whether it is served.
#[test]
fn damaged_targets_are_answered() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(start(LIVENESS));
    let targets = ["/metrics", "/livez", "/readyz?a=b&verbose=%31", "/config", "http://node/livez"];
    let targets = targets.map(|target| target.as_bytes().to_vec()).to_vec();
    let outcome =
        TestRunner::default().run(&damaged(prop::sample::select(targets)), |mut target| {
            // One line with three words is a request, whatever the second one is.
            target.retain(|byte| *byte > b' ');
            let end = b" HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
            let answer = runtime.block_on(server.raw(&[b"GET ", &target[..], end].concat()));
            let is_told = answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 4");
            prop_assert!(
                is_told,
                "{:?} is answered {:?}",
                String::from_utf8_lossy(&target),
                answer
            );
            Ok(())
        });
    outcome.expect("no target breaks the server");
    runtime.block_on(server.stop());
}

#[tokio::test]
async fn half_open_connections_are_closed() {
    let server = start(Duration::from_millis(50)).await;
    for bytes in [b"".as_slice(), b"GET /livez HTT", b"GET /livez HTTP/1.1\r\nHost: node\r\n"] {
        let answer = server.raw(bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // Also after an answered request on a connection that stays open.
    let answer = server.raw(b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn more_connections_than_are_served_wait_for_their_turn() {
    let server = start(Duration::from_millis(200)).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(server.address).await.expect("connects"));
    }
    let answered = timeout(LIVENESS, server.get("/livez")).await.expect("its turn comes");
    assert!(answered.0.starts_with("HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = start(LIVENESS).await;
    let refused = StatusServer::bind(server.address).await.expect_err("in use");
    let StatusError::Listen { address, source } = &refused;
    assert_eq!((*address, source.kind()), (server.address, std::io::ErrorKind::AddrInUse));
    assert!(refused.to_string().contains(&server.address.to_string()));
    server.stop().await;
}
