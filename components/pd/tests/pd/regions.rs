//! Many regions: splits, lookups, lists and pages, by gRPC and by HTTP.

use std::{env, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use flotilla_pd::Pd;
use flotilla_proto::{metapb, pdpb};
use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;

use crate::{
    port::get,
    support::{Clients, own_address, start},
};

/// A cluster of three stores whose regions the test reports.
struct Cluster {
    pd: Pd,
    clients: Clients,
    /// The region of all keys below the guard, and the guard.
    first: [metapb::Region; 2],
    _dir: TempDir,
}

impl Cluster {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let pd = start(dir.path(), own_address(), 3).await?;
        let mut clients = Clients::connect(pd.client_url()).await?;
        let planned = clients.bootstrap(3).await?;
        let regions: Vec<_> = planned.into_iter().filter_map(|planned| planned.region).collect();
        let first = regions.try_into().ok().context("two regions")?;
        Ok(Self { pd, clients, first, _dir: dir })
    }

    fn heartbeat(&self, region: &metapb::Region) -> pdpb::RegionHeartbeatRequest {
        pdpb::RegionHeartbeatRequest {
            header: self.clients.header(),
            leader: region.peers.first().copied(),
            region: Some(region.clone()),
            term: 6,
            ..Default::default()
        }
    }

    /// Their leaders report; comes back when all of it is taken.
    async fn report(&mut self, beats: Vec<pdpb::RegionHeartbeatRequest>) -> Result<()> {
        let stream = self.clients.pd.region_heartbeat(tokio_stream::iter(beats)).await?;
        anyhow::ensure!(stream.into_inner().message().await?.is_none(), "a heartbeat is refused");
        Ok(())
    }

    async fn ask_split(
        &mut self,
        region: &metapb::Region,
        split_count: u32,
    ) -> Result<Result<Vec<pdpb::SplitId>, (pdpb::ErrorType, String)>> {
        let (header, region) = (self.clients.header(), Some(region.clone()));
        let request = pdpb::AskBatchSplitRequest { header, region, split_count };
        let answer = self.clients.pd.ask_batch_split(request).await?.into_inner();
        Ok(match answer.header.context("a header")?.error {
            Some(error) => Err((error.r#type(), error.message)),
            None => Ok(answer.ids),
        })
    }

    /// Asks for the ids of a split at these borders; the last piece keeps the id of the whole.
    async fn split(
        &mut self,
        parent: &metapb::Region,
        borders: &[String],
    ) -> Result<Vec<metapb::Region>> {
        let count = u32::try_from(borders.len())?;
        let ids =
            self.ask_split(parent, count).await?.map_err(|(_, text)| anyhow::anyhow!(text))?;
        let mut pieces = Vec::new();
        let mut start_key = parent.start_key.clone();
        let mut epoch = parent.region_epoch.context("an epoch")?;
        epoch.version += u64::from(count);
        for (id, border) in ids.iter().zip(borders) {
            let peers = parent.peers.iter().zip(&id.new_peer_ids);
            let end_key = bytes::Bytes::from(border.clone());
            pieces.push(metapb::Region {
                id: id.new_region_id,
                start_key: std::mem::replace(&mut start_key, end_key.clone()),
                end_key,
                region_epoch: Some(epoch),
                peers: peers.map(|(peer, id)| metapb::Peer { id: *id, ..*peer }).collect(),
            });
        }
        let region_epoch = Some(epoch);
        pieces.push(metapb::Region { start_key, region_epoch, ..parent.clone() });
        Ok(pieces)
    }

    async fn batch_scan(
        &mut self,
        ranges: &[(&str, &str)],
        limit: i32,
        contain_all_key_range: bool,
    ) -> Result<Result<Vec<u64>, pdpb::ErrorType>> {
        let range = |&(start, end): &(&str, &str)| pdpb::KeyRange {
            start_key: start.to_owned().into(),
            end_key: end.to_owned().into(),
        };
        let request = pdpb::BatchScanRegionsRequest {
            header: self.clients.header(),
            ranges: ranges.iter().map(range).collect(),
            limit,
            contain_all_key_range,
            need_buckets: false,
        };
        let answer = self.clients.pd.batch_scan_regions(request).await?.into_inner();
        Ok(match answer.header.context("a header")?.error {
            Some(error) => Err(error.r#type()),
            None => Ok(answer.regions.iter().map(id_of).collect()),
        })
    }

    async fn region(&mut self, key: &str) -> Result<pdpb::GetRegionResponse> {
        let (header, region_key) = (self.clients.header(), key.to_owned().into());
        let request = pdpb::GetRegionRequest { header, region_key, need_buckets: false };
        Ok(self.clients.pd.get_region(request).await?.into_inner())
    }

    async fn previous(&mut self, key: &str) -> Result<Option<u64>> {
        let (header, region_key) = (self.clients.header(), key.to_owned().into());
        let request = pdpb::GetRegionRequest { header, region_key, need_buckets: false };
        let answer = self.clients.pd.get_prev_region(request).await?.into_inner();
        Ok(answer.region.map(|region| region.id))
    }

    async fn scan(&mut self, start: &str, end: &str, limit: i32) -> Result<Vec<u64>> {
        let (start_key, end_key) = (start.to_owned().into(), end.to_owned().into());
        let header = self.clients.header();
        let request = pdpb::ScanRegionsRequest { header, start_key, end_key, limit };
        let answer = self.clients.pd.scan_regions(request).await?.into_inner();
        anyhow::ensure!(answer.leaders.len() == answer.regions.len(), "one leader for each");
        anyhow::ensure!(answer.region_metas.len() == answer.regions.len(), "both forms");
        Ok(answer.regions.iter().map(id_of).collect())
    }
}

fn id_of(region: &pdpb::Region) -> u64 {
    region.region.as_ref().map_or(0, |region| region.id)
}

fn names(borders: &[&str]) -> Vec<String> {
    borders.iter().map(|border| (*border).to_owned()).collect()
}

#[tokio::test]
async fn a_split_has_ids_of_its_own_and_is_known_at_once() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let [data, guard] = cluster.first.clone();
    let (kind, text) = cluster.ask_split(&data, 1).await?.expect_err("nobody has reported");
    assert_eq!(kind, pdpb::ErrorType::RegionNotFound, "{text}");
    cluster.report(vec![cluster.heartbeat(&data), cluster.heartbeat(&guard)]).await?;

    for (region, count, wanted, part) in [
        (&data, 0, pdpb::ErrorType::InvalidValue, "into no new regions"),
        (&data, 4097, pdpb::ErrorType::InvalidValue, "more than the 16384 ids"),
        (&guard, 1, pdpb::ErrorType::Unknown, "is the guard region"),
    ] {
        let (kind, text) = cluster.ask_split(region, count).await?.expect_err(part);
        assert_eq!(kind, wanted, "{text}");
        assert!(text.contains(part), "{text}");
    }
    let nothing = metapb::Region::default();
    let refused = cluster.ask_split(&nothing, 1).await.expect_err("no region");
    assert_eq!(refused.downcast::<tonic::Status>()?.code(), Code::InvalidArgument);

    let pieces = cluster.split(&data, &names(&["g", "p"])).await?;
    let mut ids: Vec<u64> = pieces.iter().map(|piece| piece.id).collect();
    ids.extend(pieces.iter().flat_map(|piece| &piece.peers).map(|peer| peer.id));
    ids.push(cluster.clients.alloc_id(1).await?);
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "no id twice");

    let header = cluster.clients.header();
    let regions = pieces.clone();
    let request = pdpb::ReportBatchSplitRequest { header: header.clone(), regions };
    let answer = cluster.clients.pd.report_batch_split(request).await?.into_inner();
    assert_eq!(answer.header.and_then(|header| header.error), None);
    let [left, middle, right] = pieces.as_slice() else { anyhow::bail!("{pieces:?}") };
    assert_eq!(cluster.scan("", "", 0).await?, [left.id, middle.id, right.id, guard.id]);
    let unled = cluster.region("a").await?;
    assert_eq!((unled.region.as_ref(), unled.leader), (Some(left), None));
    let led = cluster.region("z").await?;
    assert_eq!((led.region.as_ref(), led.leader), (Some(right), right.peers.first().copied()));
    let (kind, text) = cluster.ask_split(&data, 1).await?.expect_err("it has shrunk");
    assert_eq!(kind, pdpb::ErrorType::Unknown);
    assert!(text.contains("stale: epoch"), "{text}");
    let request = pdpb::ReportBatchSplitRequest { header, regions: vec![left.clone()] };
    let answer = cluster.clients.pd.report_batch_split(request).await?.into_inner();
    let error = answer.header.and_then(|header| header.error).context("refused")?;
    assert!(error.message.contains("not the pieces of a split"), "{}", error.message);
    Ok(cluster.pd.shutdown().await?)
}

/// A lookup that comes right behind a split waits for the leader's first report.
#[tokio::test]
async fn a_lookup_waits_for_the_leader_of_a_new_region() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let data = cluster.first[0].clone();
    cluster.report(vec![cluster.heartbeat(&data)]).await?;
    let pieces = cluster.split(&data, &names(&["m"])).await?;
    let header = cluster.clients.header();
    let request = pdpb::ReportBatchSplitRequest { header, regions: pieces.clone() };
    cluster.clients.pd.report_batch_split(request).await?;
    let mut asking = cluster.clients.clone();
    let asked = tokio::spawn(async move {
        let header = asking.header();
        let request = pdpb::GetRegionRequest { header, ..Default::default() };
        asking.pd.get_region(request).await
    });
    cluster.report(vec![cluster.heartbeat(&pieces[0])]).await?;
    let answer = asked.await??.into_inner();
    assert_eq!(answer.leader, pieces[0].peers.first().copied());
    assert!(answer.leader.is_some());
    Ok(cluster.pd.shutdown().await?)
}

#[tokio::test]
async fn holes_are_told_and_ranges_are_checked() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let [data, guard] = cluster.first.clone();
    cluster.report(vec![cluster.heartbeat(&data), cluster.heartbeat(&guard)]).await?;
    let pieces = cluster.split(&data, &names(&["g", "p"])).await?;
    // The middle one has not reported.
    cluster.report(vec![cluster.heartbeat(&pieces[0]), cluster.heartbeat(&pieces[2])]).await?;
    let (left, right) = (pieces[0].id, pieces[2].id);
    assert_eq!(cluster.batch_scan(&[("a", "q")], 0, false).await?, Ok(vec![left, right]));
    let hole = Err(pdpb::ErrorType::RegionsNotContainAllKeyRange);
    assert_eq!(cluster.batch_scan(&[("a", "q")], 0, true).await?, hole);
    assert_eq!(
        cluster.batch_scan(&[("a", "g"), ("p", "")], -1, true).await?,
        Ok(vec![left, right, guard.id])
    );
    assert_eq!(cluster.batch_scan(&[("a", "b"), ("c", "g")], 1, true).await?, Ok(vec![left]));
    let refused = Err(pdpb::ErrorType::Unknown);
    assert_eq!(cluster.batch_scan(&[("c", "g"), ("a", "b")], 0, false).await?, refused);
    let owner = cluster.region("k").await?;
    assert_eq!(owner.region, Some(data), "who owned it last");
    let (_, holes) = get(cluster.pd.address(), "/pd/api/v1/regions/range-holes").await?;
    assert_eq!(holes, serde_json::json!([["67", "70"]]));
    cluster.report(vec![cluster.heartbeat(&pieces[1])]).await?;
    assert_eq!(cluster.batch_scan(&[("", "")], 0, true).await?.map(|ids| ids.len()), Ok(4));
    Ok(cluster.pd.shutdown().await?)
}

#[tokio::test]
async fn ten_thousand_regions() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let [data, guard] = cluster.first.clone();
    cluster.report(vec![cluster.heartbeat(&data), cluster.heartbeat(&guard)]).await?;
    let count = 10_000_usize;
    let mut pieces = vec![data];
    while pieces.len() < count {
        let last = pieces.pop().context("the last one")?;
        let borders: Vec<String> =
            (pieces.len() + 1..count).map(|it| format!("k{it:05}")).collect();
        let borders = &borders[..borders.len().min(4_000)];
        let made = cluster.split(&last, borders).await?;
        cluster.report(made.iter().map(|region| cluster.heartbeat(region)).collect()).await?;
        pieces.extend(made);
    }
    let ids: Vec<u64> = pieces.iter().map(|piece| piece.id).collect();
    let all = cluster.scan("", "", 0).await?;
    assert_eq!((all.len(), all[..count] == ids[..]), (count + 1, true));
    for at in [1, 4_000, 9_999] {
        let border = format!("k{at:05}");
        let found = cluster.region(&border).await?.region.context("a region")?;
        assert_eq!(found.id, ids[at]);
        assert_eq!(cluster.previous(&border).await?, Some(ids[at - 1]));
        assert_eq!(cluster.previous(&format!("{border}x")).await?, Some(ids[at - 1]));
        assert_eq!(cluster.scan(&border, "", 2).await?[0], ids[at]);
        assert_eq!(cluster.scan(&format!("{border}x"), &format!("{border}y"), 0).await?, [ids[at]]);
    }
    assert_eq!(cluster.previous("").await?, None);
    let address = cluster.pd.address();
    let (_, number) = get(address, "/pd/api/v1/regions/count").await?;
    assert_eq!(number["count"], count + 1);
    let (_, page) = get(address, "/pd/api/v1/regions/key?key=k09990&limit=99999").await?;
    assert_eq!(page["count"], 11);
    let (_, page) = get(address, "/pd/api/v1/regions/key").await?;
    assert_eq!(page["count"], 16, "unless more are asked for");
    let (_, whole) = get(address, "/pd/api/v1/regions").await?;
    assert_eq!(whole["regions"].as_array().map(Vec::len), Some(count + 1));
    let (_, store) = get(address, "/pd/api/v1/store/1").await?;
    assert_eq!(store["status"]["region_count"], count + 1);
    Ok(cluster.pd.shutdown().await?)
}

const PATHS: [&str; 27] = [
    "regions",
    "regions/count",
    "region/id/4",
    "region/id/4711",
    "region/id/x",
    "region/key/h",
    "region/key/%67",
    "region/key/67FF?format=hex",
    "region/key/6?format=hex",
    "regions/key?key=g&limit=2",
    "regions/key?key=67&end_key=70&format=hex",
    "regions/key?limit=x",
    "regions/store/2?limit=1",
    "regions/store/2?type=leader",
    "regions/store/1?type=leader&limit=1",
    "regions/store/9",
    "regions/sibling/4",
    "regions/sibling/4711",
    "regions/range-holes",
    "regions/size?limit=1",
    "regions/writeflow?limit=1",
    "regions/version?limit=1",
    "regions/check/miss-peer",
    "regions/check/pending-peer",
    "regions/check/down-peer",
    "regions/check/empty-region",
    "regions/nonsense",
];

/// What tools are answered, word for word. `UPDATE_GOLDENFILES=1` writes the file anew.
#[tokio::test]
async fn tools_are_answered_in_these_shapes() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let [data, guard] = cluster.first.clone();
    cluster.report(vec![cluster.heartbeat(&data), cluster.heartbeat(&guard)]).await?;
    let pieces = cluster.split(&data, &names(&["g", "p"])).await?;
    let mut beats: Vec<_> = pieces.iter().map(|piece| cluster.heartbeat(piece)).collect();
    beats[0].approximate_size = 96 << 20;
    beats[0].approximate_keys = 1_000;
    beats[1].bytes_written = 77;
    beats[1].interval = Some(pdpb::TimeInterval { start_timestamp: 1, end_timestamp: 4 });
    beats[1].leader = pieces[1].peers.get(1).copied();
    beats[1].pending_peers = pieces[1].peers[2..].to_vec();
    let peer = pieces[2].peers.get(2).copied();
    beats[2].down_peers = vec![pdpb::PeerStats { peer, down_seconds: 9 }];
    cluster.report(beats).await?;
    let mut actual = String::new();
    for path in PATHS {
        let (code, body): (u16, Value) =
            get(cluster.pd.address(), &format!("/pd/api/v1/{path}")).await?;
        writeln!(actual, "GET {path}\n{code} {body:#}\n")?;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pd/regions.golden");
    if env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(&golden, &actual)?;
    }
    assert_eq!(actual, fs::read_to_string(&golden)?);
    Ok(cluster.pd.shutdown().await?)
}
