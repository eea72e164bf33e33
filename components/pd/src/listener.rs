//! The client port: gRPC and HTTP/1.1 on one listener.
//!
//! What a connection speaks is seen in its first bytes: the preface of HTTP/2, or a request line. A
//! peer that sends neither within the time for a request head is cut off.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::{Buf as _, Bytes, BytesMut};
use flotilla_proto::HTTP2_PREFACE as PREFACE;
use hyper::{
    Request,
    body::Incoming,
    header::CONTENT_TYPE,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::codegen::Service as _;

/// Time for the first bytes of a connection, and for the head of each HTTP/1.1 request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent HTTP/2 peer is asked for a sign of life this often, and given that long for it. Clients may
/// ping as often as they like, with or without streams.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams of one connection: clients multiplex all their calls over few connections.
const STREAMS_MAX: u32 = 4096;
/// Open connections; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 4096;
/// Pause after the system refused a connection for want of resources, which others must give back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long calls under way may take once the placement driver stops. Streams of stores and clients never end by
/// themselves, so most stops take as long.
const DRAIN_TIME: Duration = Duration::from_millis(300);

/// What is served.
#[derive(Clone)]
pub(crate) struct Routers {
    pub grpc: Router,
    pub http: Router,
}

/// Serves until shutdown. Then nobody is let in, and calls under way get a moment; what is open behind that is cut.
/// Whoever drops the sending end of `shutdown` wants everything cut at once.
pub(crate) async fn serve(
    listener: TcpListener,
    routers: Routers,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            is_asked = shutdown.changed() => match is_asked {
                Ok(()) => break,
                Err(_sender_gone) => return,
            },
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(connection(stream, routers.clone(), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _the_rest_is_cut = timeout(DRAIN_TIME, ended).await.is_err();
}

async fn connection(mut stream: TcpStream, routers: Routers, mut shutdown: watch::Receiver<bool>) {
    // Answers are small and somebody waits for each.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let first = tokio::select! {
        first = timeout(HEAD_TIMEOUT, first_bytes(&mut stream)) => first,
        _nothing_was_asked_yet = shutdown.changed() => return,
    };
    let Ok(Ok(first)) = first else { return };
    let is_http2 = first.starts_with(PREFACE);
    let io = TokioIo::new(Opened { first: first.freeze(), stream });
    let service = service_fn(move |request| answer(routers.clone(), request));
    // Errors are the peer's: cut connections and garbage.
    let outcome = if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(STREAMS_MAX)
            .serve_connection(io, service);
        finish_on(shutdown, connection, http2::Connection::graceful_shutdown).await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(io, service);
        finish_on(shutdown, connection, http1::Connection::graceful_shutdown).await
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
}

/// Serves a connection to its end; on shutdown it only finishes what was begun.
async fn finish_on<C: Future>(
    mut shutdown: watch::Receiver<bool>,
    connection: C,
    finish: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    let mut connection = pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        _asked_or_dropped = shutdown.changed() => finish(connection.as_mut()),
    }
    connection.await
}

/// Reads until the preface of HTTP/2 is complete or cannot come any more.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<BytesMut> {
    let mut bytes = BytesMut::with_capacity(PREFACE.len());
    loop {
        let could_be_http2 = PREFACE.starts_with(&bytes);
        if bytes.len() >= PREFACE.len() || !could_be_http2 {
            return Ok(bytes);
        }
        let mut rest = (&mut *stream).take((PREFACE.len() - bytes.len()) as u64);
        if rest.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn answer(
    mut routers: Routers,
    request: Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let router = if is_grpc { &mut routers.grpc } else { &mut routers.http };
    router.call(request.map(Body::new)).await
}

/// A connection whose first bytes were read already.
struct Opened {
    first: Bytes,
    stream: TcpStream,
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let count = self.first.len().min(into.remaining());
        into.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Opened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// What is taken off a connection that brings `sent` in pieces and then ends.
    async fn taken(sent: Vec<u8>, piece_bytes: usize) -> io::Result<BytesMut> {
        let (mut here, mut there) = tokio::io::duplex(piece_bytes);
        let sender = tokio::spawn(async move {
            let _nobody_reads_on = there.write_all(&sent).await;
        });
        let first = first_bytes(&mut here).await;
        drop(here);
        sender.await.expect("the sender ends");
        first
    }

    proptest! {
        /// HTTP/2 is seen by its whole preface, anything else by its first byte that does not fit;
        /// nothing is lost.
        #[test]
        fn damaged_connections_show_what_they_speak(
            sent in damaged(prop_oneof![
                Just([PREFACE, b"and frames"].concat()),
                Just(b"GET /pd/api/v1/stores HTTP/1.1\r\n\r\n".to_vec()),
            ]),
            piece_bytes in 1..40_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            match runtime.block_on(taken(sent.clone(), piece_bytes)) {
                Ok(first) => {
                    prop_assert!(sent.starts_with(&first) && first.len() <= PREFACE.len());
                    prop_assert_eq!(first == PREFACE, sent.starts_with(PREFACE));
                    prop_assert!(first == PREFACE || !PREFACE.starts_with(&first));
                }
                Err(_ended) => prop_assert!(PREFACE.starts_with(&sent)),
            }
        }
    }
}
