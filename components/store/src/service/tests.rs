//! The services over a real engine and replicas that are played by a script.

mod calls;
mod commands;
mod loads;
mod network;
mod splits;
mod views;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use flotilla_base::{
    ByteSize, ClusterId, Epoch, Family, Index, KeyRange, KvRead as _, Mutation, Peer, PeerId,
    Region, RegionId, ScanDirection, StoreId, Version, limit::KEY_BYTES_MAX,
};
use flotilla_engine::{Engine, EngineOptions, WriteBatch};
use flotilla_multiraft::{
    Guard, MemoryBudget, NotInPlace, Reply, RequestError, RequestHeader, WriteCommand,
};
use flotilla_proto::{errorpb, kvrpcpb, metapb, tikvpb::tikv_server::Tikv};
use flotilla_telemetry::Registry;
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

use super::{
    Regions,
    admission::Admission,
    answers::AnswerMemory,
    context::Identity,
    raw::{Parts, RawService, Source},
    read_pool::ReadPool,
    rpc_metrics::RpcMetrics,
};
use crate::{
    config::LoadLimits, memory::Memory, router::WriteOutcome, split::load::meter::Loads,
    value::RawValue,
};

const STORE: StoreId = StoreId(1);
const CLUSTER: ClusterId = ClusterId(77);
const REGION: RegionId = RegionId(2);

/// The wall clock of all tests: only they move it forward.
static CLOCK_MILLIS: AtomicU64 = AtomicU64::new(1_000_000);

fn clock() -> u64 {
    CLOCK_MILLIS.load(Ordering::SeqCst)
}

const IN_PLACE: &str = "flotilla_reads_total{type=\"in_place\"}";

/// What the next write or read meets instead of a healthy replica.
#[derive(Clone, Debug)]
enum Fate {
    Refused(RequestError),
    Unknown,
    /// Never answered.
    Lost,
    /// This is written first.
    Overtaken(Mutation),
    /// The region's data is replaced between a barrier and the view.
    Replaced,
}

/// What becomes of a read in place.
type Reading = Result<(), NotInPlace>;

struct Script {
    fates: VecDeque<Fate>,
    /// Writes that were handed over.
    proposed: usize,
    /// Barriers that reads waited for: of leaders, of replicas.
    barriers: [usize; 2],
    /// What barriers of leaders meet.
    leads: Result<(), RequestError>,
    /// Whether reads in place may begin.
    permit: Reading,
    /// How those that began end; well where nothing else is said.
    ends: VecDeque<Reading>,
    /// Written between the view and the end of a read in place.
    meanwhile: Vec<Mutation>,
    /// The largest clock that was applied, in milliseconds.
    clock_millis: u64,
    /// How often the region's data was replaced.
    installs: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            fates: VecDeque::new(),
            proposed: 0,
            barriers: [0; 2],
            leads: Ok(()),
            permit: Err(NotInPlace::NoPermit),
            ends: VecDeque::new(),
            meanwhile: Vec::new(),
            clock_millis: 0,
            installs: 0,
        }
    }
}

/// Replicas that apply at once.
#[derive(Clone)]
struct Played {
    engine: Engine,
    /// By start key.
    regions: Arc<Mutex<Vec<Region>>>,
    script: Arc<Mutex<Script>>,
    /// What replicas hold together.
    memory: Arc<Memory>,
}

impl Played {
    async fn meet(&self) -> Option<Fate> {
        let fate = self.script.lock().fates.pop_front();
        if let Some(Fate::Lost) = fate {
            std::future::pending::<()>().await;
        }
        fate
    }

    fn check(&self, region: RegionId, header: RequestHeader) -> Result<Region, RequestError> {
        let found = self.region(region).ok_or(RequestError::RegionNotFound(region))?;
        let actual = found.peer_on(STORE).expect("lives here").id;
        if !header.peer.is_none() && header.peer != actual {
            return Err(RequestError::PeerMismatch { region, requested: header.peer, actual });
        }
        if found.epoch.version != header.version {
            return Err(RequestError::EpochNotMatch { current: Box::new(found) });
        }
        Ok(found)
    }

    fn apply(
        &self,
        id: RegionId,
        header: RequestHeader,
        write: WriteCommand,
    ) -> Result<Reply, RequestError> {
        let region = self.check(id, header)?;
        if let Some(Guard { family, key, stored }) = &write.guard
            && self.engine.get(*family, key).expect("read") != *stored
        {
            return Ok(Reply::GuardFailed);
        }
        for mutation in &write.mutations {
            let (key, is_inside) = match mutation {
                Mutation::Put(_, key, _) | Mutation::Delete(_, key) => {
                    (key, region.range.contains(key))
                }
                Mutation::DeleteRange(_, range) => (&range.start, region.range.covers(range)),
            };
            if !is_inside {
                let (key, range) = (key.clone(), region.range);
                return Err(RequestError::KeyNotInRegion { region: id, key, range });
            }
        }
        self.engine.write(&WriteBatch::from(write.mutations)).expect("written");
        let clock_millis = &mut self.script.lock().clock_millis;
        *clock_millis = write.clock_millis.max(*clock_millis);
        Ok(Reply::Written)
    }

    async fn barrier(&self, region: RegionId, header: RequestHeader) -> Reply {
        match self.meet().await {
            Some(Fate::Refused(refusal)) => Reply::Failed(refusal),
            fate => {
                self.script.lock().installs += u64::from(matches!(fate, Some(Fate::Replaced)));
                match self.check(region, header) {
                    Ok(_) => Reply::ReadAt(Index(7)),
                    Err(refusal) => Reply::Failed(refusal),
                }
            }
        }
    }
}

impl Regions for Played {
    type InPlace = ();

    async fn write(
        &self,
        region: RegionId,
        header: RequestHeader,
        command: WriteCommand,
    ) -> WriteOutcome {
        self.script.lock().proposed += 1;
        match self.meet().await {
            Some(Fate::Refused(refusal)) => return WriteOutcome::Done(Reply::Failed(refusal)),
            Some(Fate::Unknown | Fate::Lost) => return WriteOutcome::Unknown,
            Some(Fate::Overtaken(mutation)) => {
                self.engine.write(&WriteBatch::from(vec![mutation])).expect("written");
            }
            Some(Fate::Replaced) | None => {}
        }
        let reply = self.apply(region, header, command);
        WriteOutcome::Done(reply.unwrap_or_else(Reply::Failed))
    }

    async fn read_barrier(&self, region: RegionId, header: RequestHeader) -> Reply {
        let leads = {
            let mut script = self.script.lock();
            script.barriers[0] += 1;
            script.leads.clone()
        };
        match leads {
            Ok(()) => self.barrier(region, header).await,
            Err(refusal) => Reply::Failed(refusal),
        }
    }

    async fn replica_barrier(&self, region: RegionId, header: RequestHeader) -> Reply {
        self.script.lock().barriers[1] += 1;
        self.barrier(region, header).await
    }

    fn begin_in_place(&self, _region: RegionId, _header: &RequestHeader) -> Reading {
        self.script.lock().permit
    }

    fn finish_in_place(&self, (): ()) -> Reading {
        let mut script = self.script.lock();
        let meanwhile = std::mem::take(&mut script.meanwhile);
        self.engine.write(&WriteBatch::from(meanwhile)).expect("written");
        script.ends.pop_front().unwrap_or(Ok(()))
    }

    fn applied_clock_millis(&self, _region: RegionId) -> u64 {
        self.script.lock().clock_millis
    }

    fn owns(&self, region: RegionId, version: Version, key: &[u8]) -> bool {
        let found = self.region(region);
        found.is_some_and(|it| it.epoch.version == version && it.range.contains(key))
    }

    fn region(&self, region: RegionId) -> Option<Region> {
        self.regions.lock().iter().find(|known| known.id == region).cloned()
    }

    fn last_install(&self, _region: RegionId) -> u64 {
        self.script.lock().installs
    }

    fn regions(&self) -> Vec<Region> {
        self.regions.lock().clone()
    }
}

/// A service and its script, on a directory of its own.
struct Fixture {
    service: RawService<Played>,
    played: Played,
    registry: Registry,
    _directory: tempfile::TempDir,
}

fn region(id: u64, start: &'static str, end: &'static str, version: u64) -> Region {
    Region {
        id: RegionId(id),
        range: KeyRange::new(start, end),
        epoch: Epoch { version: Version(version), ..Epoch::FIRST },
        peers: vec![
            Peer::voter(PeerId(id * 10), STORE),
            Peer::voter(PeerId(id * 10 + 1), StoreId(2)),
        ],
    }
}

impl Fixture {
    /// A store with the region `["b", "m")` and the last one, `["m", "")`.
    fn new() -> Self {
        Self::with_clock(clock)
    }

    fn with_clock(clock_millis: fn() -> u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = Engine::open(directory.path(), &EngineOptions::default()).expect("an engine");
        let regions = vec![region(2, "b", "m", 3), region(3, "m", "", 3)];
        let regions = Arc::new(Mutex::new(regions));
        let memory = Arc::new(Memory::new(MemoryBudget::default()));
        let played = Played { engine, regions, script: Arc::default(), memory };
        let registry = Registry::new();
        let parts = parts_with(&played, clock_millis, &registry);
        let service = RawService::new(Arc::new(parts));
        Self { service, played, registry, _directory: directory }
    }

    fn expect(&self, fates: impl IntoIterator<Item = Fate>) {
        self.played.script.lock().fates.extend(fates);
    }

    fn proposed(&self) -> usize {
        self.played.script.lock().proposed
    }

    fn barriers(&self) -> [usize; 2] {
        self.played.script.lock().barriers
    }

    fn permit(&self, permit: Reading) {
        self.played.script.lock().permit = permit;
    }

    /// Asserts that each key and value on disk is one that is served.
    fn check_stored(&self) {
        let mut visit = |key: &[u8], stored: &[u8]| {
            assert!(key >= b"b".as_slice() && key.len() <= KEY_BYTES_MAX, "{key:?}");
            RawValue::decode(&Bytes::copy_from_slice(stored)).expect("a value of ours");
            true
        };
        let (all, forward) = (KeyRange::all(), ScanDirection::Forward);
        self.played.engine.scan(Family::Raw, &all, forward, &mut visit).expect("it can be read");
    }

    fn counted(&self, series: &str) -> u64 {
        let text = flotilla_telemetry::render(&self.registry);
        let line = text.lines().find(|line| line.starts_with(series)).expect("registered");
        line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a number")
    }

    async fn put(&self, key: &[u8], value: &[u8], ttl: u64) -> kvrpcpb::RawPutResponse {
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        let context = Some(context());
        let request = kvrpcpb::RawPutRequest { context, key, value, ttl, ..Default::default() };
        done(self.service.raw_put(Request::new(request)).await)
    }

    async fn get(&self, key: &'static [u8]) -> kvrpcpb::RawGetResponse {
        let (context, key) = (Some(context()), Bytes::from_static(key));
        let request = kvrpcpb::RawGetRequest { context, key, ..Default::default() };
        done(self.service.raw_get(Request::new(request)).await)
    }

    async fn scan(&self, start: &'static str, end: &'static str, reverse: bool) -> Vec<String> {
        let mut request = scan_request(start, end);
        request.reverse = reverse;
        let response = done(self.service.raw_scan(Request::new(request)).await);
        assert_eq!(response.region_error, None);
        response.kvs.iter().map(|pair| String::from_utf8_lossy(&pair.key).into()).collect()
    }
}

fn parts(played: &Played) -> Parts<Played> {
    parts_with(played, clock, &Registry::new())
}

fn parts_with(played: &Played, clock_millis: fn() -> u64, registry: &Registry) -> Parts<Played> {
    let source = Source {
        regions: played.clone(),
        engine: played.engine.clone(),
        identity: Identity { cluster: CLUSTER, store: STORE },
        metrics: RpcMetrics::new(registry),
        splitter: Arc::new(played.clone()),
        brake: Arc::default(),
        loads: Arc::new(Loads::new(LoadLimits { requests: 1, bytes: ByteSize(0) })),
        clock_millis,
    };
    Parts {
        source: Arc::new(source),
        admission: Admission::new(ByteSize::mib(16), Arc::clone(played.memory.room_to_apply())),
        answers: AnswerMemory::new(ByteSize::mib(16)),
        pool: ReadPool::start(1).expect("a thread"),
    }
}

/// The context of a client that knows the region well.
fn context() -> kvrpcpb::Context {
    kvrpcpb::Context {
        region_id: REGION.get(),
        region_epoch: Some(metapb::RegionEpoch { version: 3, conf_ver: 1 }),
        peer: Some(metapb::Peer { id: 20, store_id: STORE.get(), ..Default::default() }),
        ..kvrpcpb::Context::default()
    }
}

fn scan_request(start: &'static str, end: &'static str) -> kvrpcpb::RawScanRequest {
    kvrpcpb::RawScanRequest {
        context: Some(context()),
        start_key: start.into(),
        end_key: end.into(),
        limit: 100,
        ..kvrpcpb::RawScanRequest::default()
    }
}

fn done<T>(result: Result<Response<T>, Status>) -> T {
    result.expect("an answer").into_inner()
}

fn error_of(response: kvrpcpb::RawGetResponse) -> errorpb::Error {
    response.region_error.expect("a region error")
}
