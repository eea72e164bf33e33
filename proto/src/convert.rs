//! Conversions between wire messages and base's words: towards base checked, towards the wire always possible.

use flotilla_base::{
    ConfVer, Epoch, Key, KeyRange, Peer, PeerId, PeerRole, Region, RegionError, RegionId, StoreId,
    Version,
};

use crate::metapb;

/// Why a message cannot be what it claims to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A message that the receiver needs is absent.
    #[error("{0} is absent")]
    Absent(&'static str),
    /// A peer has a role that this version does not know.
    #[error("peer {peer} has the unknown role {role}")]
    UnknownRole {
        /// The peer.
        peer: PeerId,
        /// The number on the wire.
        role: i32,
    },
    /// A peer votes without holding data: not a thing that exists here.
    #[error("peer {0} is a witness")]
    Witness(PeerId),
    /// The region breaks a rule of regions.
    #[error(transparent)]
    Region(#[from] RegionError),
}

impl From<Epoch> for metapb::RegionEpoch {
    fn from(epoch: Epoch) -> Self {
        Self { conf_ver: epoch.conf_ver.get(), version: epoch.version.get() }
    }
}

impl From<metapb::RegionEpoch> for Epoch {
    fn from(epoch: metapb::RegionEpoch) -> Self {
        Self { version: Version(epoch.version), conf_ver: ConfVer(epoch.conf_ver) }
    }
}

impl From<PeerRole> for metapb::PeerRole {
    fn from(role: PeerRole) -> Self {
        match role {
            PeerRole::Voter => Self::Voter,
            PeerRole::Learner => Self::Learner,
            PeerRole::IncomingVoter => Self::IncomingVoter,
            PeerRole::DemotingVoter => Self::DemotingVoter,
        }
    }
}

impl From<metapb::PeerRole> for PeerRole {
    fn from(role: metapb::PeerRole) -> Self {
        match role {
            metapb::PeerRole::Voter => Self::Voter,
            metapb::PeerRole::Learner => Self::Learner,
            metapb::PeerRole::IncomingVoter => Self::IncomingVoter,
            metapb::PeerRole::DemotingVoter => Self::DemotingVoter,
        }
    }
}

impl From<Peer> for metapb::Peer {
    fn from(peer: Peer) -> Self {
        Self {
            id: peer.id.get(),
            store_id: peer.store.get(),
            role: metapb::PeerRole::from(peer.role).into(),
            is_witness: false,
        }
    }
}

impl TryFrom<metapb::Peer> for Peer {
    type Error = ConvertError;

    fn try_from(peer: metapb::Peer) -> Result<Self, ConvertError> {
        let id = PeerId(peer.id);
        if peer.is_witness {
            return Err(ConvertError::Witness(id));
        }
        let role = metapb::PeerRole::try_from(peer.role)
            .map_err(|_unknown| ConvertError::UnknownRole { peer: id, role: peer.role })?;
        Ok(Self { id, store: StoreId(peer.store_id), role: role.into() })
    }
}

impl From<&Region> for metapb::Region {
    fn from(region: &Region) -> Self {
        region.clone().into()
    }
}

impl From<Region> for metapb::Region {
    fn from(region: Region) -> Self {
        Self {
            id: region.id.get(),
            start_key: region.range.start,
            end_key: region.range.end,
            region_epoch: Some(region.epoch.into()),
            peers: region.peers.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<metapb::Region> for Region {
    type Error = ConvertError;

    /// Takes a region that keeps every rule of [`Region::validate`]; it may have no peers.
    ///
    /// Its keys are copied: whoever takes a region keeps it, and a slice of the message would keep the whole buffer in which
    /// that arrived, 8 KiB of a connection for a few bytes.
    fn try_from(region: metapb::Region) -> Result<Self, ConvertError> {
        let epoch = region.region_epoch.ok_or(ConvertError::Absent("region_epoch"))?;
        let converted = Self {
            id: RegionId(region.id),
            range: KeyRange {
                start: Key::copy_from_slice(&region.start_key),
                end: Key::copy_from_slice(&region.end_key),
            },
            epoch: epoch.into(),
            peers: region.peers.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        };
        converted.validate()?;
        Ok(converted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn roles() -> impl Strategy<Value = PeerRole> {
        prop_oneof![
            Just(PeerRole::Voter),
            Just(PeerRole::Learner),
            Just(PeerRole::IncomingVoter),
            Just(PeerRole::DemotingVoter),
        ]
    }

    prop_compose! {
        fn regions()(
            id in 1..u64::MAX,
            start: Vec<u8>,
            tail in prop::option::of(prop::collection::vec(any::<u8>(), 1..9)),
            version in 1..u64::MAX,
            conf_ver in 1..u64::MAX,
            roles in prop::collection::vec(roles(), 0..6),
        ) -> Region {
            let end = tail.map_or_else(Vec::new, |tail| [start.clone(), tail].concat());
            let peers = (1..).zip(roles);
            Region {
                id: RegionId(id),
                range: KeyRange::new(start, end),
                epoch: Epoch { version: Version(version), conf_ver: ConfVer(conf_ver) },
                peers: peers
                    .map(|(n, role)| Peer { id: PeerId(n + 10), store: StoreId(n), role })
                    .collect(),
            }
        }
    }

    #[test]
    fn a_region_does_not_keep_the_buffer_of_its_message() {
        let range = KeyRange::new("a", "b");
        let region = Region { id: RegionId(2), range, epoch: Epoch::FIRST, peers: Vec::new() };
        let buffer = bytes::Bytes::from(metapb::Region::from(&region).encode_to_vec());
        let decoded = metapb::Region::decode(buffer.clone()).expect("own encoding");
        let taken = Region::try_from(decoded).expect("sound");
        assert_eq!(taken, region);
        let addresses = buffer.as_ptr_range();
        for key in [&taken.range.start, &taken.range.end] {
            assert!(!addresses.contains(&key.as_ptr()), "a slice of the buffer");
        }
    }

    proptest! {
        #[test]
        fn regions_survive_the_wire(region in regions()) {
            let bytes = metapb::Region::from(&region).encode_to_vec();
            let decoded = metapb::Region::decode(bytes.as_slice()).expect("own encoding");
            prop_assert_eq!(Region::try_from(decoded), Ok(region));
        }

        #[test]
        fn damaged_regions_are_refused_or_valid(
            region in regions(),
            position: prop::sample::Index,
            byte: u8,
        ) {
            let mut bytes = metapb::Region::from(&region).encode_to_vec();
            let position = position.index(bytes.len());
            bytes[position] = byte;
            let decoded = metapb::Region::decode(bytes.as_slice()).ok();
            if let Some(Ok(region)) = decoded.map(Region::try_from) {
                prop_assert_eq!(region.validate(), Ok(()));
            }
        }
    }

    #[test]
    fn the_broken_rule_is_named() {
        let region = metapb::Region { id: 2, ..metapb::Region::default() };
        let refused = |region: metapb::Region| Region::try_from(region).expect_err("must refuse");
        assert_eq!(refused(region.clone()), ConvertError::Absent("region_epoch"));
        let epoch = Some(metapb::RegionEpoch { conf_ver: 1, version: 1 });
        let region = metapb::Region { region_epoch: epoch, ..region };
        let inverted =
            metapb::Region { start_key: "b".into(), end_key: "a".into(), ..region.clone() };
        assert!(matches!(
            refused(inverted),
            ConvertError::Region(RegionError::EmptyRange(RegionId(2), _))
        ));
        let with_peer =
            |peer: metapb::Peer| refused(metapb::Region { peers: vec![peer], ..region.clone() });
        let peer = metapb::Peer { id: 7, store_id: 1, role: 0, is_witness: false };
        assert_eq!(
            with_peer(metapb::Peer { role: 9, ..peer }),
            ConvertError::UnknownRole { peer: PeerId(7), role: 9 }
        );
        assert_eq!(
            with_peer(metapb::Peer { is_witness: true, ..peer }),
            ConvertError::Witness(PeerId(7))
        );
        assert!(matches!(with_peer(metapb::Peer { id: 0, ..peer }), ConvertError::Region(_)));
    }
}
