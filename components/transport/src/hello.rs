//! The metadata of a stream: who calls whom. Decimal text, so that any tool can read it.

use std::str::FromStr;

use flotilla_base::{ClusterId, Incarnation, StoreId};
use tonic::{Status, metadata::MetadataMap};

use crate::link::Identity;

/// Version of the stream's protocol. Both ends must speak the same one.
pub(crate) const PROTOCOL_VERSION: u64 = 2;

const CLUSTER_ID: &str = "flotilla-cluster-id";
const FROM_STORE: &str = "flotilla-from-store";
const TO_STORE: &str = "flotilla-to-store";
const INCARNATION: &str = "flotilla-incarnation";
const PROTOCOL: &str = "flotilla-protocol";

/// What the caller of a stream says of itself and of whom it means to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) from: Identity,
    pub(crate) to_store: StoreId,
    pub(crate) protocol_version: u64,
}

impl Hello {
    pub(crate) const fn new(from: Identity, to_store: StoreId) -> Self {
        Self { from, to_store, protocol_version: PROTOCOL_VERSION }
    }

    pub(crate) fn write(&self, metadata: &mut MetadataMap) {
        metadata.insert(CLUSTER_ID, self.from.cluster_id.get().into());
        metadata.insert(FROM_STORE, self.from.store_id.get().into());
        metadata.insert(TO_STORE, self.to_store.get().into());
        metadata.insert(INCARNATION, self.from.incarnation.get().into());
        metadata.insert(PROTOCOL, self.protocol_version.into());
    }

    /// # Errors
    /// INVALID_ARGUMENT where a key is absent or no number.
    pub(crate) fn read(metadata: &MetadataMap) -> Result<Self, Status> {
        let from = Identity {
            cluster_id: ClusterId(number(metadata, CLUSTER_ID)?),
            store_id: StoreId(number(metadata, FROM_STORE)?),
            incarnation: Incarnation(number(metadata, INCARNATION)?),
        };
        let to_store = StoreId(number(metadata, TO_STORE)?);
        Ok(Self { from, to_store, protocol_version: number(metadata, PROTOCOL)? })
    }

    /// Whether `me` is the one that is called.
    ///
    /// # Errors
    /// FAILED_PRECONDITION with both sides of what does not fit.
    pub(crate) fn check(&self, me: Identity) -> Result<(), Status> {
        let mismatch = |what: &str, theirs: u64, mine: u64| {
            let caller = self.from.store_id;
            Err(Status::failed_precondition(format!(
                "mismatch {what}: store {caller} called {theirs}, this is {mine}"
            )))
        };
        if self.protocol_version != PROTOCOL_VERSION {
            return mismatch("protocol version", self.protocol_version, PROTOCOL_VERSION);
        }
        if self.from.cluster_id != me.cluster_id {
            return mismatch("cluster id", self.from.cluster_id.get(), me.cluster_id.get());
        }
        let caller = self.from.store_id;
        if caller.is_none() || caller == me.store_id {
            return Err(Status::failed_precondition(format!(
                "store {caller} is nobody who could call store {}",
                me.store_id
            )));
        }
        if self.to_store != me.store_id {
            return mismatch("store id", self.to_store.get(), me.store_id.get());
        }
        Ok(())
    }
}

fn number(metadata: &MetadataMap, key: &'static str) -> Result<u64, Status> {
    let text = metadata.get(key).and_then(|value| value.to_str().ok());
    text.and_then(|text| u64::from_str(text).ok())
        .ok_or_else(|| Status::invalid_argument(format!("metadata {key} is absent or no number")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ME: Identity =
        Identity { cluster_id: ClusterId(7), store_id: StoreId(1), incarnation: Incarnation(3) };

    fn refusal(hello: Hello) -> String {
        hello.check(ME).expect_err("must refuse").message().to_owned()
    }

    #[test]
    fn metadata_round_trip() {
        let hello = Hello::new(ME, StoreId(2));
        let mut metadata = MetadataMap::new();
        hello.write(&mut metadata);
        assert_eq!(Hello::read(&metadata).expect("own metadata"), hello);
        metadata.insert(INCARNATION, "soon".parse().expect("text"));
        let refused = Hello::read(&metadata).expect_err("no number");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(Hello::read(&MetadataMap::new()).is_err());
    }

    proptest! {
        /// Metadata comes from whoever reaches the port: any text, keys missing or twice.
        #[test]
        fn damaged_metadata_is_refused_or_means_itself(
            said in prop::collection::vec(
                (
                    prop::sample::select(vec![CLUSTER_ID, FROM_STORE, TO_STORE, INCARNATION, PROTOCOL]),
                    prop_oneof![
                        3 => any::<u64>().prop_map(|number| number.to_string()),
                        1 => "[ -~]{0,24}|[+-]?[0-9]{18,22}",
                    ],
                ),
                4..12,
            ),
        ) {
            let mut metadata = MetadataMap::new();
            for (key, text) in said {
                metadata.append(key, text.parse().expect("printable"));
            }
            if let Ok(hello) = Hello::read(&metadata) {
                let _refused = hello.check(ME);
                let mut again = MetadataMap::new();
                hello.write(&mut again);
                prop_assert_eq!(Hello::read(&again).expect("own metadata"), hello);
            }
        }
    }

    #[test]
    fn refusals_name_both_sides() {
        let caller = Identity { store_id: StoreId(2), ..ME };
        let hello = Hello::new(caller, StoreId(1));
        assert!(hello.check(ME).is_ok());
        let stranger = Hello { from: Identity { cluster_id: ClusterId(8), ..caller }, ..hello };
        assert_eq!(refusal(stranger), "mismatch cluster id: store 2 called 8, this is 7");
        let lost = Hello { to_store: StoreId(9), ..hello };
        assert_eq!(refusal(lost), "mismatch store id: store 2 called 9, this is 1");
        let newer = Hello { protocol_version: 3, ..hello };
        assert_eq!(refusal(newer), "mismatch protocol version: store 2 called 3, this is 2");
    }
}
