//! The placement driver's mind: what is replicated, what is learnt from heartbeats, how timestamps
//! and ids are handed out, how a fresh cluster gets its first regions, and later ones by splits, and how regions are
//! changed step by step.
//!
//! **Knows nothing of** raft, protobuf, gRPC, HTTP, disks, timers, or where time comes from: it takes
//! the time and inputs as arguments and returns records, answers and refusals.
//!
//! Entry types: [`MetaState`] (replicated), [`TsoReign`] and [`IdPool`] (one reign of one leader),
//! [`TsoDesk`] (where timestamps leave), [`ClusterView`] (soft state, rebuilt from heartbeats), [`BootstrapPlan`],
//! [`OperatorController`] (changes of regions that are under way), [`check()`] (what is to be done for a region).
//! Reading order: [`meta`], [`ids`], [`tso`], [`tso_desk`], [`bootstrap`], [`view`], [`split`], [`operator`],
//! [`policy`], [`rule`], [`fleet`], [`decision`], [`check`](mod@check).
#![warn(missing_docs)]

pub mod bootstrap;
pub mod check;
pub mod decision;
mod due;
pub mod fleet;
pub mod forecast;
pub mod ids;
mod lately;
pub mod meta;
pub mod mind;
pub mod operator;
pub mod policy;
pub mod prospect;
mod round;
pub mod rule;
pub mod scatter;
mod schedule;
pub mod split;
pub mod tso;
pub mod tso_desk;
pub mod view;
mod wanting;

pub use bootstrap::{
    BootstrapPlan, BootstrapRegion, bootstrap_ids, bootstrap_stores, plan_bootstrap,
};
pub use check::{Finding, Placement, Standing, Terrain, check, standing};
pub use decision::{Alternative, Decision, DecisionLog, DecisionRecord, Idle, Intent};
pub use fleet::{Fleet, HeatScale, Obstacle, Seat};
pub use forecast::{Bounds, CutOff, Forecast, Move, Outlook, Premises};
pub use ids::{IdBatch, IdPool};
pub use meta::{
    Answer, Applied, Cluster, EntryPosition, MetaChange, MetaCommand, MetaError, MetaState,
    Refusal, StoreRecord, StoreState,
};
pub use mind::Mind;
pub use operator::{
    Change, Command, Drain, DrainLook, EndedOperator, Ending, Leave, Leftovers, Operator,
    OperatorController, OperatorEvent, OperatorKind, OperatorList, OperatorRefusal, Order, Plan,
    RemovalRefusal, Setbacks, Sight, Stamp, Step,
};
pub use policy::{
    Policy, PolicyRefusal, SchedulerName, SchedulerPolicy, SettingRefusal, StorePolicy,
};
pub use rule::{
    Border, Demand, Fit, LabelConstraint, LabelOp, Labels, Role, Rule, RuleBook, RuleGroup,
    RuleRefusal,
};
pub use split::{SplitIds, SplitRefusal, check_pieces, check_split, deal_split_ids};
pub use tso::{Timestamp, TsoError, TsoReign};
pub use tso_desk::{Taken, TsoChange, TsoDesk};
pub use view::{
    ClusterView, Flow, Gap, Load, Rates, RegionInfo, RegionReport, RegionStats, ScanRefusal,
    StaleReport, StoreHealth, StoreLoad, StoreStats, StoreStatus,
};
