//! The status server: what operators, probes and Prometheus ask a node, over HTTP/1.1.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | all metrics as text |
//! | `/livez` | 200, or 503 with the checks that fail: the process should be restarted |
//! | `/readyz` | 200, or 503 with the checks that fail: the node should get no requests; `?verbose` lists all checks |
//! | `/config` | the configuration in use, as JSON |

use std::fmt::Write;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

/// Connections served at the same time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 128;

/// A connection that sends no complete request head for this long is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// No connection lives longer, so that a peer that reads slowly or never cannot hold one for good.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// How long to let others close their files when the process has none left to accept a connection with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits the buffer of a connection, hence the size of a request head, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Why the status server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The address is in use, or not one of this machine.
    #[error("the status server cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// One thing that must be so for a node to be live or ready.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    run: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// What the server answers with. All closures run on blocking threads and may wait for a moment.
#[derive(Clone)]
pub struct StatusRoutes {
    /// The body of `/metrics`; usually [`crate::render`].
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The checks of `/livez`.
    pub live: Vec<Check>,
    /// The checks of `/readyz`.
    pub ready: Vec<Check>,
    /// The body of `/config`.
    pub config: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// A listener that waits to serve.
#[derive(Debug)]
pub struct StatusServer {
    listener: TcpListener,
    head_timeout: Duration,
}

type Answer = Response<Full<Bytes>>;

impl Check {
    /// A check called `name`; `run` says why it fails.
    pub fn new(
        name: &'static str,
        run: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { name, run: Arc::new(run) }
    }
}

impl StatusServer {
    /// Listens on `address`.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(address: SocketAddr) -> Result<Self, StatusError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| StatusError::Listen { address, source })?;
        Ok(Self { listener, head_timeout: HEAD_TIMEOUT })
    }

    /// Closes connections that send no complete request head within `timeout` instead of 10 s.
    #[must_use]
    pub fn with_head_timeout(self, timeout: Duration) -> Self {
        Self { head_timeout: timeout, ..self }
    }

    /// Serves until `shutdown` completes, then closes all connections.
    pub async fn serve(self, routes: StatusRoutes, shutdown: impl Future<Output = ()>) {
        let routes = Arc::new(routes);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // Dropping the set at the end ends what still runs.
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accept = async {
                let permit = permits.clone().acquire_owned().await.expect("never closed");
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = &mut shutdown => return,
                Some(_ended) = connections.join_next() => continue,
                accepted = accept => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of files, or the peer has gone again: neither is a reason to end.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (routes, head_timeout) = (routes.clone(), self.head_timeout);
            connections.spawn(async move {
                let _permit = permit;
                serve_connection(stream, routes, head_timeout).await;
            });
        }
    }
}

async fn serve_connection(stream: TcpStream, routes: Arc<StatusRoutes>, head_timeout: Duration) {
    let service = service_fn(move |request| {
        let routes = routes.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&request, routes).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "status connection ended"),
        Err(_elapsed) => tracing::debug!("status connection closed at its greatest age"),
    }
}

async fn answer(request: &Request<Incoming>, routes: Arc<StatusRoutes>) -> Answer {
    let path = request.uri().path().to_owned();
    if !matches!(path.as_str(), "/metrics" | "/livez" | "/readyz" | "/config") {
        let message = "there is /metrics, /livez, /readyz and /config";
        return error(StatusCode::NOT_FOUND, message);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let query = request.uri().query().unwrap_or("");
    let verbose = query.split('&').any(|pair| pair.split('=').next() == Some("verbose"));
    let work = move || match path.as_str() {
        "/metrics" => {
            respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", (routes.metrics)())
        }
        "/config" => respond(StatusCode::OK, "application/json", (routes.config)().to_string()),
        "/livez" => checked("livez", &routes.live, verbose),
        _ => checked("readyz", &routes.ready, verbose),
    };
    spawn_blocking(work).await.unwrap_or_else(|_panicked| {
        error(StatusCode::INTERNAL_SERVER_ERROR, "a bug: the answer's code panicked; see the log")
    })
}

/// Runs all checks. Shows each when one fails or when asked to.
fn checked(name: &str, checks: &[Check], verbose: bool) -> Answer {
    let mut body = String::new();
    let mut failed = false;
    for check in checks {
        let start = Instant::now();
        let result = (check.run)();
        let micros = start.elapsed().as_micros();
        let written = match result {
            Ok(()) => writeln!(body, "[+] {} ok ({micros} us)", check.name),
            Err(reason) => {
                failed = true;
                writeln!(body, "[-] {} fail ({micros} us): {reason}", check.name)
            }
        };
        written.expect("a string takes any text");
    }
    let (status, verdict) = if failed {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{name}: fail\n"))
    } else {
        (StatusCode::OK, format!("{name}: ok\n"))
    };
    let body = if failed || verbose { body + &verdict } else { verdict };
    respond(status, "text/plain; charset=utf-8", body)
}

fn error(status: StatusCode, message: &str) -> Answer {
    let kind = status.canonical_reason().unwrap_or("error");
    let body = json!({"error": {"code": status.as_u16(), "kind": kind, "message": message}});
    respond(status, "application/json", body.to_string())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
