//! Finding the leader of the placement driver, and asking it until it answers.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use flotilla_base::{ClusterId, address::authority};
use flotilla_proto::{
    ERROR_KIND,
    pdpb::{self, pd_client::PdClient},
};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Code, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// How long an answer may take; all come from memory or from one sync.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(3);
/// A connection that is silent for so long is asked for a sign of life, and given up where none comes.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause after a first failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row, about a second, after which whoever looks at the log is told what is waited for.
const TOLD_AFTER: u64 = 4;
/// Members whose addresses are remembered, at most.
const KNOWN_MAX: usize = 32;

/// Why the placement driver did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PdLinkError {
    /// Nobody answered in time.
    #[error("no placement driver answers at {endpoints}: {cause}")]
    Unreachable {
        /// Who was asked.
        endpoints: String,
        /// What went wrong last.
        cause: String,
    },
    /// It speaks for another cluster.
    #[error("the placement driver belongs to cluster {theirs}, this store to cluster {ours}")]
    OtherCluster {
        /// The store's.
        ours: ClusterId,
        /// The placement driver's.
        theirs: ClusterId,
    },
    /// It said no, and why.
    #[error("{0}")]
    Refused(String),
    /// It said that this store was removed for good.
    #[error("{0}")]
    Removed(String),
    /// The cluster has no regions yet.
    #[error("the cluster has no regions yet")]
    NotBootstrapped,
}

impl PdLinkError {
    /// Whether asking again may help.
    const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// The way to whoever leads the placement driver.
#[derive(Debug)]
pub(super) struct Leader {
    /// Addresses from the configuration, then those that members have named since.
    known: Mutex<Vec<String>>,
    /// Zero until the first contact.
    cluster: AtomicU64,
    channel: Mutex<Option<Channel>>,
    has_connected: Notify,
    /// Failures since the last success.
    failures: AtomicU64,
}

impl Leader {
    pub(super) fn new(endpoints: &[String], cluster: ClusterId) -> Self {
        Self {
            known: Mutex::new(endpoints.iter().map(|text| authority(text).to_owned()).collect()),
            cluster: AtomicU64::new(cluster.get()),
            channel: Mutex::new(None),
            has_connected: Notify::new(),
            failures: AtomicU64::new(0),
        }
    }

    pub(super) fn cluster(&self) -> ClusterId {
        ClusterId(self.cluster.load(Ordering::Acquire))
    }

    /// Waits until a leader is found.
    pub(super) async fn find(&self, patience: Duration) -> Result<(), PdLinkError> {
        self.ask(patience, |_channel, _header| async { Ok(()) }).await
    }

    /// Asks the leader until it answers or `patience` is over.
    pub(super) async fn ask<T, A>(
        &self,
        patience: Duration,
        ask: impl Fn(Channel, pdpb::RequestHeader) -> A + Send + Sync,
    ) -> Result<T, PdLinkError>
    where
        A: Future<Output = Result<T, Status>> + Send,
    {
        let deadline = Instant::now() + patience;
        let mut has_told = false;
        loop {
            let error = match self.ask_once(ANSWER_TIME, &ask).await {
                Err(error) if error.is_passing() => error,
                done_or_refused => return done_or_refused,
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            if !has_told && self.failures.load(Ordering::Relaxed) > TOLD_AFTER {
                has_told = true;
                tracing::warn!(%error, "waiting for the placement driver");
            }
            self.pause().await;
        }
    }

    /// Asks once; the answer may take `answer_time`.
    pub(super) async fn ask_long<T, A>(
        &self,
        answer_time: Duration,
        ask: impl Fn(Channel, pdpb::RequestHeader) -> A + Send + Sync,
    ) -> Result<T, PdLinkError>
    where
        A: Future<Output = Result<T, Status>> + Send,
    {
        self.ask_once(answer_time, &ask).await
    }

    async fn ask_once<T, A>(
        &self,
        answer_time: Duration,
        ask: &(impl Fn(Channel, pdpb::RequestHeader) -> A + Send + Sync),
    ) -> Result<T, PdLinkError>
    where
        A: Future<Output = Result<T, Status>> + Send,
    {
        let channel = self.channel().await?;
        let failure = match timeout(answer_time, ask(channel, self.header(0))).await {
            Ok(Ok(answer)) => {
                self.failures.store(0, Ordering::Relaxed);
                return Ok(answer);
            }
            Ok(Err(status)) if is_refusal(status.code()) => {
                self.count_failure();
                return Err(refusal(&status));
            }
            Ok(Err(status)) => status.message().to_owned(),
            Err(_elapsed) => "no answer in time".to_owned(),
        };
        self.forget();
        Err(self.unreachable(failure))
    }

    /// A connection to the leader; makes one where there is none.
    pub(super) async fn channel(&self) -> Result<Channel, PdLinkError> {
        if let Some(channel) = self.channel.lock().clone() {
            return Ok(channel);
        }
        let channel = self.connect().await.inspect_err(|_error| self.count_failure())?;
        *self.channel.lock() = Some(channel.clone());
        self.has_connected.notify_one();
        Ok(channel)
    }

    /// Waits until there is a connection that the last waiter did not see. For one waiter.
    pub(super) async fn connected(&self) {
        self.has_connected.notified().await;
    }

    /// Gives the connection up: another member may lead by now.
    pub(super) fn forget(&self) {
        *self.channel.lock() = None;
        self.count_failure();
    }

    /// The header of a request of `store`.
    pub(super) fn header(&self, store: u64) -> pdpb::RequestHeader {
        pdpb::RequestHeader {
            cluster_id: self.cluster().get(),
            sender_id: store,
            ..pdpb::RequestHeader::default()
        }
    }

    /// Waits after a failure, the longer the more there were in a row.
    pub(super) async fn pause(&self) {
        let failures = self.failures.load(Ordering::Relaxed).clamp(1, 16);
        let doubled = u32::try_from(failures - 1).unwrap_or(0);
        sleep(FIRST_PAUSE.saturating_mul(1 << doubled).min(LONGEST_PAUSE)).await;
    }

    fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks all known members, one after the other, who leads.
    async fn connect(&self) -> Result<Channel, PdLinkError> {
        let known = self.known.lock().clone();
        let mut cause = "no address is known".to_owned();
        for address in known {
            let channel = match open(&address).await {
                Ok(channel) => channel,
                Err(why) => {
                    cause = why;
                    continue;
                }
            };
            match self.ask_members(&address, channel).await {
                Ok(Some(channel)) => return Ok(channel),
                Ok(None) => cause = format!("{address} knows no leader"),
                Err(PdLinkError::Unreachable { cause: why, .. }) => cause = why,
                Err(fatal) => return Err(fatal),
            }
        }
        Err(self.unreachable(cause))
    }

    /// The connection to the leader that the member at `address` names.
    async fn ask_members(
        &self,
        address: &str,
        channel: Channel,
    ) -> Result<Option<Channel>, PdLinkError> {
        let request = pdpb::GetMembersRequest { header: Some(self.header(0)) };
        let mut client = PdClient::new(channel.clone());
        let answer = timeout(ANSWER_TIME, client.get_members(request)).await;
        let answer = answer.map_err(|_elapsed| self.unreachable(format!("{address} is silent")))?;
        let answer = answer
            .map_err(|status| self.unreachable(format!("{address}: {}", status.message())))?
            .into_inner();
        self.adopt_cluster(answer.header.unwrap_or_default().cluster_id)?;
        self.learn(&answer.members);
        let urls = answer.leader.map(|leader| leader.client_urls).unwrap_or_default();
        let urls: Vec<String> = urls.iter().map(|url| authority(url).to_owned()).collect();
        if urls.iter().any(|url| url == address) {
            return Ok(Some(channel));
        }
        for url in urls {
            if let Ok(channel) = open(&url).await {
                return Ok(Some(channel));
            }
        }
        Ok(None)
    }

    fn adopt_cluster(&self, theirs: u64) -> Result<(), PdLinkError> {
        if theirs == 0 {
            return Err(self.unreachable("it has no cluster yet".to_owned()));
        }
        let swapped = self.cluster.compare_exchange(0, theirs, Ordering::AcqRel, Ordering::Acquire);
        match swapped {
            Err(ours) if ours != theirs => {
                Err(PdLinkError::OtherCluster { ours: ClusterId(ours), theirs: ClusterId(theirs) })
            }
            _ => Ok(()),
        }
    }

    fn learn(&self, members: &[pdpb::Member]) {
        let mut known = self.known.lock();
        for url in members.iter().flat_map(|member| &member.client_urls) {
            let url = authority(url).to_owned();
            if !known.contains(&url) && known.len() < KNOWN_MAX {
                known.push(url);
            }
        }
    }

    fn unreachable(&self, cause: String) -> PdLinkError {
        PdLinkError::Unreachable { endpoints: self.known.lock().join(", "), cause }
    }
}

/// Fails where a response's header carries an error.
pub(super) fn check_header(header: Option<pdpb::ResponseHeader>) -> Result<(), Status> {
    match header.and_then(|header| header.error) {
        Some(error) if error.r#type() != pdpb::ErrorType::Ok => {
            let kind = MetadataValue::from_static(error.r#type().as_str_name());
            let mut status = super::unusable(error.message);
            status.metadata_mut().insert(ERROR_KIND, kind);
            Err(status)
        }
        _ => Ok(()),
    }
}

/// What a refusal means, by the kind that its status names.
fn refusal(status: &Status) -> PdLinkError {
    let kind = status.metadata().get(ERROR_KIND).and_then(|kind| kind.to_str().ok());
    match kind.and_then(pdpb::ErrorType::from_str_name) {
        Some(pdpb::ErrorType::StoreTombstone) => PdLinkError::Removed(status.message().to_owned()),
        Some(pdpb::ErrorType::NotBootstrapped) => PdLinkError::NotBootstrapped,
        _ => PdLinkError::Refused(status.message().to_owned()),
    }
}

/// Whether asking again, or somebody else, would bring the same answer.
const fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unimplemented
    )
}

async fn open(address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_why| format!("{address:?} is no address"))?
        .connect_timeout(CONNECT_TIME)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    match timeout(CONNECT_TIME, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(_why)) => Err(format!("cannot connect to {address}")),
        Err(_elapsed) => Err(format!("{address} does not accept a connection")),
    }
}
