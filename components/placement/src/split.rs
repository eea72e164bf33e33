//! Splits: to whom the ids of new regions are given, and what is made of a split that was carried out.
//!
//! A region is split by its own group. The placement driver knows of it twice: before, when the leader asks for
//! the ids of what the split will make; and behind, when the pieces are reported. Ids of a split that never
//! comes about are never used.

use flotilla_base::{PeerId, Region, RegionId};

use crate::{
    ids::IdBatch,
    view::{RegionMap, StaleReport},
};

/// Ids that one split may take: 4,096 new regions of three replicas.
pub const SPLIT_IDS_MAX: u32 = 16_384;

/// The ids of one new region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitIds {
    /// Of the region.
    pub region: RegionId,
    /// Of its peers, in the order of the peers of the region that is split.
    pub peers: Vec<PeerId>,
}

/// Why no split is to be, or was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitRefusal {
    /// Nothing is to come of it.
    #[error("region {0}: a split into no new regions")]
    NoChildren(RegionId),
    /// More than one split may make.
    #[error(
        "region {region}: {children} new regions with {peers} peers each need more than the \
         {SPLIT_IDS_MAX} ids that one split may take"
    )]
    TooMany {
        /// The region.
        region: RegionId,
        /// How many regions were to come to it.
        children: u32,
        /// How many peers it has.
        peers: usize,
    },
    /// The region has no peers.
    #[error("region {0}: no peers")]
    NoPeers(RegionId),
    /// The guard region stays one, and empty.
    #[error(
        "region {0} is the guard region: it keeps clients' scans within the key space, holds no key, and is \
         never split"
    )]
    Guard(RegionId),
    /// No leader has reported the region's first key yet.
    #[error("region {0}: none is known at its start; ask again once its leader has reported")]
    Unknown(RegionId),
    /// The region has changed since.
    #[error(transparent)]
    Stale(#[from] StaleReport),
    /// The region is known at the same epoch with another range or other peers.
    #[error("region {0} is known at this epoch with another range or other peers")]
    OtherShape(RegionId),
    /// What was reported is not what a split makes.
    #[error("not the pieces of a split: {0}")]
    NotPieces(String),
}

/// Whether `region`, as its leader sees it, may be split into itself and `children` new ones; gives how many
/// ids that takes.
///
/// # Errors
/// [`SplitRefusal`].
pub fn check_split(known: &RegionMap, region: &Region, children: u32) -> Result<u32, SplitRefusal> {
    let id = region.id;
    region.validate().map_err(StaleReport::Invalid)?;
    if children == 0 {
        return Err(SplitRefusal::NoChildren(id));
    }
    if region.peers.is_empty() {
        return Err(SplitRefusal::NoPeers(id));
    }
    let peers = region.peers.len();
    let each = u32::try_from(peers).ok().and_then(|peers| peers.checked_add(1));
    let ids = each.and_then(|each| children.checked_mul(each));
    let ids = ids.filter(|ids| *ids <= SPLIT_IDS_MAX);
    let ids = ids.ok_or(SplitRefusal::TooMany { region: id, children, peers })?;
    let is_guard = |region: &Region| region.is_guard();
    if is_guard(region) || known.by_id(id).is_some_and(|info| is_guard(&info.region)) {
        return Err(SplitRefusal::Guard(id));
    }
    if known.by_key(&region.range.start).is_none() {
        return Err(SplitRefusal::Unknown(id));
    }
    if let Some(owner) = known.check(region)? {
        return Err(SplitRefusal::Stale(StaleReport::Overlap { region: id, owner }));
    }
    match known.by_id(id).map(|info| &info.region) {
        Some(same) if same.epoch == region.epoch && same != region => {
            Err(SplitRefusal::OtherShape(id))
        }
        _ => Ok(ids),
    }
}

/// Deals the ids that [`check_split`] asked for: for each new region one of its own, then one for each of
/// `peers` peers.
///
/// # Panics
/// Where they are not as many.
#[must_use]
pub fn deal_split_ids(ids: IdBatch, children: u32, peers: usize) -> Vec<SplitIds> {
    let each = peers as u64 + 1;
    assert_eq!(ids.count(), u64::from(children) * each, "as many ids as were asked for");
    let deal = |child: u64| {
        let region = ids.first + child * each;
        SplitIds {
            region: RegionId(region),
            peers: (region + 1..region + each).map(PeerId).collect(),
        }
    };
    (0..u64::from(children)).map(deal).collect()
}

/// Whether these are what came out of one split, in the order of their keys.
///
/// # Errors
/// [`SplitRefusal::NotPieces`].
pub fn check_pieces(pieces: &[Region]) -> Result<(), SplitRefusal> {
    let refuse = |why: String| Err(SplitRefusal::NotPieces(why));
    if pieces.len() < 2 {
        return refuse(format!("{} of at least 2", pieces.len()));
    }
    for piece in pieces {
        if let Err(error) = piece.validate() {
            return refuse(error.to_string());
        }
        if piece.is_guard() {
            return refuse(format!("region {} is the guard region", piece.id));
        }
    }
    for (left, right) in pieces.iter().zip(&pieces[1..]) {
        if left.range.end.is_empty() || left.range.end != right.range.start {
            let (left, right) = (&left.range, &right.range);
            return refuse(format!("{right} does not begin where {left} ends"));
        }
        if left.epoch.version != right.epoch.version {
            let (left, right) = (left.epoch, right.epoch);
            return refuse(format!("epochs {left} and {right} are of different versions"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flotilla_base::{
        ConfVer, Epoch, KeyRange, Moment, Peer, StoreId, Version, key::guard_border,
    };

    use super::*;
    use crate::{ClusterView, RegionReport};

    fn region(id: u64, range: (&'static str, &'static str), version: u64) -> Region {
        let peers = (1..=3).map(|store| Peer::voter(PeerId(id * 10 + store), StoreId(store)));
        let epoch = Epoch { version: Version(version), conf_ver: ConfVer(2) };
        let range = KeyRange::new(range.0, range.1);
        Region { id: RegionId(id), range, epoch, peers: peers.collect() }
    }

    fn view(regions: &[Region]) -> ClusterView {
        let mut view = ClusterView::new(Moment(1));
        for region in regions {
            let (region, leader) = (region.clone(), region.peers[0]);
            let report = RegionReport { region, leader, ..RegionReport::default() };
            view.on_region_report(Moment(2), report).expect("taken");
        }
        view
    }

    #[test]
    fn ids_are_dealt_in_the_order_of_the_peers() {
        let ids = IdBatch { first: 101, last: 108 };
        let peers = |ids: std::ops::RangeInclusive<u64>| ids.map(PeerId).collect();
        assert_eq!(
            deal_split_ids(ids, 2, 3),
            [
                SplitIds { region: RegionId(101), peers: peers(102..=104) },
                SplitIds { region: RegionId(105), peers: peers(106..=108) },
            ]
        );
    }

    #[test]
    #[should_panic(expected = "as many ids as were asked for")]
    fn too_few_ids_are_not_dealt() {
        let _never_returns = deal_split_ids(IdBatch { first: 1, last: 7 }, 2, 3);
    }

    #[test]
    fn a_region_as_it_is_known_or_newer_may_be_split() {
        let known = region(2, ("", "m"), 5);
        let view = view(&[known.clone(), region(3, ("m", ""), 5)]);
        let ask = |region: &Region, children| check_split(view.regions(), region, children);
        assert_eq!(ask(&known, 1), Ok(4));
        assert_eq!(ask(&known, 4096), Ok(SPLIT_IDS_MAX));
        let grown = Region { epoch: Epoch { conf_ver: ConfVer(3), ..known.epoch }, ..known };
        assert_eq!(ask(&grown, 2), Ok(8), "its leader knows more than what was reported");
        let child = region(9, ("c", "m"), 6);
        assert_eq!(ask(&child, 1), Ok(4), "made by a split that is not reported yet");
    }

    #[test]
    fn whoever_may_not_split_is_told_why() {
        let known = region(2, ("", "m"), 5);
        let mut guard = region(4, ("", ""), 1);
        guard.range.start = guard_border();
        let view = view(&[known.clone(), region(3, ("m", "t"), 7), guard.clone()]);
        let refused = |region: &Region, children, part: &str| {
            let text = check_split(view.regions(), region, children).expect_err(part).to_string();
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        };
        refused(&known, 0, "into no new regions");
        refused(&known, 4097, "more than the 16384 ids");
        refused(&known, u32::MAX, "more than the 16384 ids");
        refused(&Region { peers: Vec::new(), ..known.clone() }, 1, "no peers");
        refused(&Region { id: RegionId(0), ..known.clone() }, 1, "region id is 0");
        refused(&guard, 1, "guard region");
        let unheard = check_split(ClusterView::new(Moment(1)).regions(), &guard, 1);
        assert_eq!(unheard, Err(SplitRefusal::Guard(guard.id)), "there is nothing to wait for");
        let disguised = Region { id: guard.id, ..region(4, ("u", "v"), 9) };
        refused(&disguised, 1, "guard region");
        refused(&region(8, ("t", "u"), 9), 1, "none is known at its start");
        refused(&region(2, ("", "t"), 4), 1, "stale: epoch 4/2 reported, 5/2 known");
        refused(&region(8, ("", "p"), 6), 1, "region 3 owns keys of it at a later version");
        refused(&region(8, ("", "c"), 5), 1, "region 2 owns keys of it");
        refused(&region(2, ("", "l"), 5), 1, "another range or other peers");
    }

    #[test]
    fn pieces_follow_each_other_at_one_version() {
        let pieces = [region(7, ("a", "c"), 6), region(8, ("c", "f"), 6), region(2, ("f", ""), 6)];
        assert_eq!(check_pieces(&pieces), Ok(()));
        let refused = |change: fn(&mut Vec<Region>), part: &str| {
            let mut pieces = pieces.to_vec();
            change(&mut pieces);
            let text = check_pieces(&pieces).expect_err(part).to_string();
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        };
        refused(|pieces| pieces.truncate(1), "1 of at least 2");
        refused(|pieces| pieces.swap(0, 1), "does not begin where");
        refused(|pieces| drop(pieces.remove(1)), "[f, \"\") does not begin where [a, c) ends");
        refused(|pieces| pieces[1].epoch.version.0 += 1, "6/2 and 7/2 are of different versions");
        refused(|pieces| pieces[1].peers[0].id = PeerId(0), "zero or listed twice");
        refused(|pieces| pieces[2].range.start = guard_border(), "guard region");
    }
}
