//! One call from its first attempt to its end: the loop around the decisions of `flotilla-routing`.

use std::time::Duration;

use flotilla_base::{Moment, key};
use flotilla_proto::kvrpcpb::Context;
use flotilla_routing::{
    Access, Applied, Attempts, Correction, Decision, Ending, Failure, Next, NoRoute, Route, Step,
    decide,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    core::{Core, Place},
    error::{Effort, Error, ErrorKind},
    links::Link,
    options::{CallOptions, ReadFrom},
    wire::{Answer as _, Rpc, refusal},
};

/// How long a read waits for a replica before it goes to the leader. A replica that cannot reach its leader says
/// so after a gate of 800 ms.
const REPLICA_PATIENCE: Duration = Duration::from_secs(1);

/// What a call is about, for the message of its error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// The doing: `get`, `put`.
    pub(crate) verb: &'static str,
    /// The object.
    pub(crate) object: Object<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Object<'a> {
    Key(&'a [u8]),
    Named(&'static str),
}

impl Subject<'_> {
    pub(crate) fn failed(&self) -> String {
        match self.object {
            Object::Key(bytes) => format!("cannot {} key {}", self.verb, key::display(bytes)),
            Object::Named(name) => format!("cannot {} {name}", self.verb),
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    core: &'a Core,
    subject: Subject<'a>,
    attempts: Attempts,
    started: Moment,
    read_from: ReadFrom,
    /// What the last attempt met. A call that runs out of time while it looks for the way reports
    /// this, not the innocent server that it was about to ask.
    last: Option<Failure>,
}

impl<'a> Call<'a> {
    /// A call that reads.
    pub(crate) fn read(core: &'a Core, subject: Subject<'a>, options: CallOptions) -> Self {
        core.stats.count_call();
        let deadline = core.now() + options.deadline.into();
        Self::until(core, subject, Access::Read, deadline).reading_from(options.read_from)
    }

    /// A call that writes; all writes of the raw interface can be repeated with the same effect.
    pub(crate) fn write(core: &'a Core, subject: Subject<'a>, options: CallOptions) -> Self {
        core.stats.count_call();
        let access = Access::Write { repeat_unknown: options.repeat_unknown_writes };
        Self::until(core, subject, access, core.now() + options.deadline.into())
    }

    /// A call, or a part of one, with a given end.
    pub(crate) fn until(
        core: &'a Core,
        subject: Subject<'a>,
        access: Access,
        deadline: Moment,
    ) -> Self {
        let attempts = Attempts::new(access, deadline, core.next_seed());
        let read_from = ReadFrom::Leader;
        Self { core, subject, attempts, started: core.now(), read_from, last: None }
    }

    /// The same call; its first attempt goes elsewhere.
    pub(crate) fn reading_from(mut self, read_from: ReadFrom) -> Self {
        self.read_from = read_from;
        self
    }

    /// Finds the way to `place`, however long that takes within the deadline.
    pub(crate) async fn route(&mut self, place: Place<'_>) -> Result<Route, Error> {
        loop {
            let deadline = self.core.instant(self.attempts.deadline());
            let failure = match timeout_at(deadline, self.core.route(place)).await {
                Ok(Ok(route)) => return Ok(route),
                Ok(Err(failure)) => failure,
                Err(_elapsed) => return Err(self.out_of_time(unanswered())),
            };
            self.after(None, failure).await?;
        }
    }

    /// Sends `request` along `route`. `None` means that this attempt failed, that the map and the
    /// clock have moved on, and that the caller should locate again and try once more.
    pub(crate) async fn attempt<R: Rpc>(
        &mut self,
        route: &Route,
        mut request: R,
    ) -> Result<Option<R::Answer>, Error> {
        // What fails at a replica for whatever reason goes to the leader next.
        if self.read_from == ReadFrom::AnyReplica && self.attempts.failures() == 0 {
            return self.attempt_at_replica(&self.core.replica(route), request).await;
        }
        let deadline = self.core.instant(self.attempts.deadline());
        let sent = match timeout_at(deadline, self.core.link(route.peer.store)).await {
            Ok(Ok((address, link))) => {
                request.set_context(self.context(route));
                self.send(&address, &link, request).await
            }
            Ok(Err(failure)) => Err(failure),
            Err(_elapsed) => {
                let text = "no connection came about before the deadline".to_owned();
                return Err(self.out_of_time(Failure::Unsent(text)));
            }
        };
        let failure = match sent {
            Ok(answer) => {
                if self.attempts.failures() > 0 {
                    self.core.cache.write().confirm(route);
                }
                return Ok(Some(answer));
            }
            Err(failure) => failure,
        };
        self.after(Some(route), failure).await.map(|()| None)
    }

    async fn attempt_at_replica<R: Rpc>(
        &mut self,
        route: &Route,
        mut request: R,
    ) -> Result<Option<R::Answer>, Error> {
        let attempt = async {
            let (address, link) = self.core.link(route.peer.store).await?;
            request.set_context(Context { replica_read: true, ..self.context(route) });
            self.send(&address, &link, request).await
        };
        let patience = Instant::now() + REPLICA_PATIENCE;
        let deadline = self.core.instant(self.attempts.deadline());
        let sent = timeout_at(deadline.min(patience), attempt).await;
        let late = if deadline < patience { Failure::Late } else { Failure::Silent };
        match sent.unwrap_or(Err(late)) {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) => self.after(Some(route), failure).await.map(|()| None),
        }
    }

    /// Asks the placement driver until it answers.
    pub(crate) async fn ask<T, F>(&mut self, mut question: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        loop {
            let deadline = self.core.instant(self.attempts.deadline());
            let failure = match timeout_at(deadline, question()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_elapsed) => return Err(self.out_of_time(unanswered())),
            };
            self.after(None, failure).await?;
        }
    }

    async fn send<R: Rpc>(
        &self,
        address: &str,
        link: &Link,
        request: R,
    ) -> Result<R::Answer, Failure> {
        let deadline = self.core.instant(self.attempts.deadline());
        let mut answer = match timeout_at(deadline, request.send(address, link)).await {
            Err(_elapsed) => return Err(Failure::Late),
            Ok(Err(failure)) => {
                if matches!(failure, Failure::Lost(_) | Failure::Unsent(_)) {
                    link.discard();
                }
                return Err(failure);
            }
            Ok(Ok(answer)) => answer,
        };
        // First what is final: for want of another place, some calls tell it among the region errors.
        if let Some(text) = answer.take_rejection() {
            return Err(Failure::Rejected(text));
        }
        match answer.take_region_error() {
            Some(error) => Err(Failure::Refused(refusal(error))),
            None => Ok(answer),
        }
    }

    fn context(&self, route: &Route) -> Context {
        let left = self.attempts.deadline().since(self.core.now());
        Context {
            region_id: route.region.id.get(),
            region_epoch: Some(route.region.epoch.into()),
            peer: Some(route.peer.into()),
            // Zero would mean "no limit".
            max_execution_duration_ms: left.as_millis().max(1),
            is_retry_request: self.attempts.failures() > 0,
            cluster_id: self.core.pd.cluster().get(),
            ..Context::default()
        }
    }

    async fn after(&mut self, route: Option<&Route>, failure: Failure) -> Result<(), Error> {
        tracing::debug!(verb = self.subject.verb, %failure, "attempt failed");
        let decision = decide(&failure, route);
        let now = self.core.now();
        if let Some(route) = route.filter(|_| decision.correction != Correction::Nothing) {
            self.core.cache.write().correct(now, route, &decision.correction);
        }
        let peers = route.map_or(1, |route| route.region.peers.len());
        let step = self.attempts.after(now, &decision, peers);
        if let Step::GiveUp(ending) = step {
            return Err(self.end(ending, &failure));
        }
        self.last = Some(failure);
        self.count(&decision);
        if let Step::Wait(until) = step {
            if let Some(route) = route.filter(|_| self.attempts.is_search_long()) {
                self.core.cache.write().doubt(route.region.id);
            }
            tokio::time::sleep_until(self.core.instant(until)).await;
        }
        Ok(())
    }

    fn out_of_time(&mut self, cut_off: Failure) -> Error {
        let failure = self.last.take().unwrap_or(cut_off);
        self.end(self.attempts.out_of_time(), &failure)
    }

    fn end(&self, ending: Ending, failure: &Failure) -> Error {
        let elapsed = Duration::from(self.core.now().since(self.started));
        let effort = Effort { attempts: self.attempts.failures(), elapsed };
        self.core.stats.count_failure(ending.applied == Applied::Unknown);
        Error::ended(self.subject.failed(), ending, failure, effort)
    }

    fn count(&self, decision: &Decision) {
        match decision.next {
            Next::Again(cause) | Next::Pause(cause) | Next::PauseFor(cause, _) => {
                self.core.stats.count_retry(cause);
            }
            Next::End(_) => {}
        }
    }
}

/// The placement driver did not answer before the deadline: nothing was sent to a store.
fn unanswered() -> Failure {
    let text = "it did not answer before the deadline".to_owned();
    Failure::NoRoute(NoRoute::PlacementDriver(text))
}

/// The first contact. A cluster that nobody listens for is reported at once; one that answers but
/// has no leader yet is waited for.
pub(crate) async fn connect(core: &Core) -> Result<(), Error> {
    let subject = Subject { verb: "connect to", object: Object::Named("the cluster") };
    if let Err(Failure::Unsent(why)) = core.pd.connect().await {
        return Err(Error::unsent(ErrorKind::Unreachable, subject.failed(), why));
    }
    let deadline = core.now() + core.options.deadline.into();
    let again = || async {
        core.pd.connect().await.map_err(|failure| match failure {
            // It has gone away since, and is still the one that is missing.
            Failure::Unsent(why) => Failure::NoRoute(NoRoute::PlacementDriver(why)),
            other => other,
        })
    };
    Call::until(core, subject, Access::Read, deadline).ask(again).await
}
