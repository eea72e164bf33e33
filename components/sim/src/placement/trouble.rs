//! What happens to a cluster from outside: faults, and what people do.

use std::fmt;

use flotilla_placement::SchedulerName;

use super::store::StorePlan;

/// Which store, in the order in which they came: the first is 0.
pub type Place = usize;

/// Something that happens to the cluster from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A store stops without warning; its disk stays.
    Stop(Place),
    /// It starts again.
    Start(Place),
    /// Everything on a store takes long.
    Slow(Place),
    /// It does not any more.
    Fast(Place),
    /// A store comes.
    Join(Box<StorePlan>),
    /// A store that has stopped will not come back, and somebody says so.
    Remove(Place),
    /// The placement driver stops, and starts a little later.
    RestartPd,
    /// Data in all regions becomes more or less: each has up to so many hundredths of what it had.
    Resize(u64),
    /// A region, drawn among all, is split by its leader.
    Split,
    /// Somebody moves a lead by hand.
    Transfer,
    /// Somebody moves a replica by hand.
    Move,
    /// Somebody who is not this placement driver changes the members of regions that it is changing.
    Meddle,
    /// Somebody weighs a store: thousandths for leads and for data.
    Weigh(Place, u32, u32),
    /// Somebody sets a setting.
    Set(&'static str, String),
    /// Somebody lets a scheduler run for some stores.
    Schedule(SchedulerName, Vec<Place>),
    /// Somebody ends a scheduler.
    Unschedule(SchedulerName),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop(place) => write!(f, "store number {place} stops"),
            Self::Start(place) => write!(f, "store number {place} starts"),
            Self::Slow(place) => write!(f, "store number {place} is slow"),
            Self::Fast(place) => write!(f, "store number {place} is not slow any more"),
            Self::Join(_) => f.write_str("a store comes"),
            Self::Remove(place) => write!(f, "store number {place} is to be removed"),
            Self::RestartPd => f.write_str("the placement driver stops"),
            Self::Resize(percent) => write!(f, "regions get up to {percent} % of their size"),
            Self::Split => f.write_str("a region is to be split"),
            Self::Transfer => f.write_str("somebody moves a lead"),
            Self::Move => f.write_str("somebody moves a replica"),
            Self::Meddle => f.write_str("somebody else changes members"),
            Self::Weigh(place, leads, data) => {
                write!(f, "store number {place} weighs {leads} for leads and {data} for data")
            }
            Self::Set(name, value) => write!(f, "{name} is set to {value}"),
            Self::Schedule(name, places) => write!(f, "{name} runs for stores number {places:?}"),
            Self::Unschedule(name) => write!(f, "{name} runs no more"),
        }
    }
}
