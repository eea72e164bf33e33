//! Accepts connections, whatever is at the other end: one that does not say in time what it wants is
//! closed, and running out of files is no reason to stop listening.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use flotilla_proto::HTTP2_PREFACE as PREFACE;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A connection that has not sent it by then is closed.
const PREFACE_TIME: Duration = Duration::from_secs(10);

/// How long to let others close their files when the process has none left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that are open at a time. Clients of YCSB's kind open more than a hundred each.
const CONNECTIONS_MAX: usize = 16_384;

/// The connections of a listener; never ends, never fails.
pub(super) struct Accept {
    listener: TcpListener,
    pause: Option<Pin<Box<Sleep>>>,
    room: Arc<Semaphore>,
    /// Whether the last connection was turned away: only the first of them is worth a line in the log.
    is_full: bool,
}

/// How much of the preface has arrived, in whatever pieces.
#[derive(Debug, Default)]
struct Greeting {
    seen: usize,
}

impl Greeting {
    const fn is_complete(&self) -> bool {
        self.seen == PREFACE.len()
    }

    /// Compares what arrived with the rest of the preface; what stands behind that is not looked at.
    fn check(&mut self, arrived: &[u8]) -> io::Result<()> {
        let expected = &PREFACE[self.seen..];
        let length = expected.len().min(arrived.len());
        if arrived[..length] != expected[..length] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP/2"));
        }
        self.seen += length;
        Ok(())
    }
}

/// A connection that fails unless it starts as HTTP/2 in time.
pub(super) struct Greeted {
    stream: TcpStream,
    greeting: Greeting,
    /// `None` once all have.
    timer: Option<Pin<Box<Sleep>>>,
    _room: OwnedSemaphorePermit,
}

impl Accept {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::bounded(listener, CONNECTIONS_MAX)
    }

    fn bounded(listener: TcpListener, connections_max: usize) -> Self {
        let room = Arc::new(Semaphore::new(connections_max));
        Self { listener, pause: None, room, is_full: false }
    }

    /// Takes a connection in, or closes it where there are too many.
    fn admit(&mut self, stream: TcpStream) -> Option<Greeted> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok();
        if room.is_none() && !self.is_full {
            tracing::warn!("too many connections are open; new ones are closed");
        }
        self.is_full = room.is_none();
        room.map(|room| Greeted::new(stream, room))
    }
}

impl Stream for Accept {
    type Item = io::Result<Greeted>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) => {
                    if let Some(greeted) = self.admit(stream) {
                        return Poll::Ready(Some(Ok(greeted)));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

impl Greeted {
    fn new(stream: TcpStream, room: OwnedSemaphorePermit) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small messages of a connection may be delayed");
        }
        let timer = Some(Box::pin(sleep(PREFACE_TIME)));
        Self { stream, greeting: Greeting::default(), timer, _room: room }
    }

    fn check(&mut self, arrived: &[u8]) -> io::Result<()> {
        if self.timer.is_some() {
            self.greeting.check(arrived)?;
            if self.greeting.is_complete() {
                self.timer = None;
            }
        }
        Ok(())
    }
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let start = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(self.check(&buffer.filled()[start..]))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Greeted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_stream::StreamExt as _;

    use super::*;

    proptest! {
        /// However the bytes are cut into pieces: garbage ends at its first byte, and nothing else does.
        #[test]
        fn damaged_prefaces_are_one_in_any_pieces(
            sent in damaged(Just([PREFACE, b"and frames"].concat())),
            cuts in prop::collection::vec(1..9_usize, 1..40),
        ) {
            let mut greeting = Greeting::default();
            let (mut rest, mut taken) = (sent.as_slice(), 0);
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                rest = behind;
                let is_sound = greeting.check(piece).is_ok();
                taken += piece.len();
                let start = &sent[..taken.min(PREFACE.len())];
                prop_assert_eq!(is_sound, PREFACE.starts_with(start));
                if !is_sound {
                    break;
                }
                prop_assert_eq!(greeting.is_complete(), taken >= PREFACE.len());
            }
        }
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_are_closed_until_there_is_room() {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = ([127, high | 0x80, low, 250], crate::config::SERVICE_PORT);
        let listener = TcpListener::bind(std::net::SocketAddr::from(address)).await;
        let listener = listener.expect("an address of our own");
        let address = listener.local_addr().expect("bound");
        let mut accept = Accept::bounded(listener, 1);
        let _first_client = TcpStream::connect(address).await.expect("connected");
        let first = accept.next().await.expect("never ends").expect("never fails");

        let mut second = TcpStream::connect(address).await.expect("connected");
        let mut byte = [0];
        let closed = tokio::select! {
            read = second.read(&mut byte) => read,
            _accepted = accept.next() => panic!("one too many"),
        };
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");

        drop(first);
        let mut third = TcpStream::connect(address).await.expect("connected");
        let mut accepted = accept.next().await.expect("never ends").expect("never fails");
        third.write_all(PREFACE).await.expect("sent");
        let mut preface = vec![0; PREFACE.len()];
        accepted.read_exact(&mut preface).await.expect("served");
    }
}
