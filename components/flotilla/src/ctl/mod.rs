//! Commands that look at the cluster, and that change it.

mod confirm;
mod explain;
mod forget;
mod hot;
mod obstacle;
mod operators;
mod plan;
mod region;
mod regions;
mod rules;
mod scatter;
mod schedulers;
mod settings;
mod store;
mod stores;

use flotilla_client::Client;
use serde_json::{Value, json};

use crate::{
    args::{CtlCommand, Globals},
    catalogue, context,
    fault::Fault,
    health::{ClusterView, Health, Leaving, RegionState, WHY_UNHEARD},
    output::{self, Format},
    playground::Insight,
    text,
};

/// `flotilla ctl`.
pub(crate) async fn run(globals: &Globals, command: CtlCommand) -> Result<(), Fault> {
    let client = context::connect(globals).await?;
    let look = async {
        let insight = Insight::of(globals).await;
        let view = ClusterView::look(&client.admin(), &insight.killed).await?;
        Ok::<_, Fault>((view, insight))
    };
    match command {
        CtlCommand::Status { check } => status(globals, &client, &look.await?.0, check).await,
        CtlCommand::Stores(args) => {
            let (view, insight) = look.await?;
            let placement = client.admin().placement().await?.unwrap_or_default();
            stores::list(globals, (&view, &placement), &insight.names, &args)
        }
        CtlCommand::Store(command) => store::run(globals, &client.admin(), command).await,
        CtlCommand::Regions(args) => {
            let killed = Insight::of(globals).await.killed;
            regions::list(globals, &client.admin(), &killed, &args).await
        }
        CtlCommand::Region(command) => region::run(globals, &client.admin(), command).await,
        CtlCommand::Operators(args) => operators::list(globals, &client.admin(), &args).await,
        CtlCommand::Settings(args) => settings::run(globals, &client.admin(), args).await,
        CtlCommand::Schedulers(args) => schedulers::run(globals, &client.admin(), args).await,
        CtlCommand::Hot(args) => hot::run(globals, &client.admin(), &args).await,
        CtlCommand::Rules(args) => rules::run(globals, &client.admin(), args).await,
        CtlCommand::Plan(args) => plan::run(globals, &client.admin(), &args).await,
        CtlCommand::Explain(subject) => explain::run(globals, &client.admin(), subject).await,
    }
}

async fn status(
    globals: &Globals,
    client: &Client,
    view: &ClusterView,
    check: bool,
) -> Result<(), Fault> {
    let admin = client.admin();
    let members = admin.members().await?;
    let health = Health::of(view);
    let moving = admin.operators().await.map(|operators| operators.running.len());
    let changes = admin.placement().await?.map(|placement| Changes {
        moving: moving.unwrap_or_default() as u64,
        waiting: placement.waiting_regions,
        stuck: placement.stuck_regions,
        draining: health.leaving.draining,
        removed: health.leaving.removed,
    });
    let word = health.word();
    let leader = members.members.iter().find(|member| Some(member.id) == members.leader);
    let leader = leader.map(|member| member.name.as_str());
    match globals.output {
        Format::Json => output::print_json(
            "status",
            json!({
                "cluster_id": members.cluster.get(),
                "health": word,
                "pd": {"members": members.members.len(), "leader": leader},
                "stores": {"total": health.stores, "up": health.stores_up, "may_fail": health.may_fail},
                "regions": {
                    "total": health.regions,
                    "leaderless": health.leaderless,
                    "under_replicated": health.under_replicated,
                    "example": health.example(),
                },
                "changes": changes.as_ref().map(Changes::json),
            }),
        )?,
        Format::Table => output::print(&format!(
            "CLUSTER  id {}  {word}\n\
             PD       {}   leader {}\n\
             STORES   {}/{} up   {}\n\
             REGIONS  {}   leaderless {}   under-replicated {}\n{}",
            members.cluster,
            text::counted(members.members.len() as u64, "member"),
            leader.unwrap_or("none"),
            health.stores_up,
            health.stores,
            health.may_fail_text(),
            text::grouped(health.regions as u64),
            health.leaderless,
            health.under_replicated,
            changes.map(|changes| changes.line()).unwrap_or_default(),
        ))?,
    }
    match health.complaint() {
        Some(complaint) if check => Err(unhealthy(globals, view, &health, complaint)),
        _ => Ok(()),
    }
}

/// What is being done to regions, and is to be done.
#[derive(Debug)]
struct Changes {
    moving: u64,
    waiting: u64,
    stuck: u64,
    draining: Leaving,
    removed: Leaving,
}

impl Changes {
    fn line(&self) -> String {
        let Self { moving, waiting, stuck, draining, removed } = self;
        let mut line = format!("CHANGES  {moving} under way   waiting {waiting}   stuck {stuck}");
        for (leaving, what) in [(draining, "draining"), (removed, "being removed")] {
            if leaving.stores > 0 {
                let stores = text::counted(leaving.stores as u64, "store");
                line.push_str(&format!("   {stores} {}", leaving.left(what)));
            }
        }
        line.push('\n');
        line
    }

    fn json(&self) -> Value {
        let Self { moving, waiting, stuck, draining, removed } = self;
        let leaving = |it: &Leaving| json!({"stores": it.stores, "replicas_left": it.replicas});
        json!({
            "under_way": moving,
            "waiting": waiting,
            "stuck": stuck,
            "stores_leaving": draining.stores + removed.stores,
            "draining": leaving(draining),
            "being_removed": leaving(removed),
        })
    }
}

/// What is not well, the region that is worst off, and what to do.
fn unhealthy(globals: &Globals, view: &ClusterView, health: &Health, complaint: String) -> Fault {
    let mut fault = Fault::new(&catalogue::UNHEALTHY, complaint);
    if let Some(example) = health.example() {
        fault = fault.why(example);
    }
    if health.waits_for.is_some() {
        let one_more = context::one_more_store(&context::pd(globals));
        return fault.hint(one_more).hint("flotilla ctl stores   shows those that have registered");
    }
    if health.unheard > 0 {
        fault = fault.hint(format!("ask again in some seconds: {WHY_UNHEARD}"));
    }
    if health.leaving.draining.stores > 0 {
        fault =
            fault.hint("flotilla ctl stores   shows how far the stores are that are being emptied");
    }
    if health.leaving.removed.stores > 0 {
        fault = fault.hint(
            "flotilla ctl operators   shows how far the removal is; nothing is to be done, and the store that leaves \
             must never be started again",
        );
    }
    if health.down > 0 {
        fault = fault.hint("flotilla ctl stores   shows which store is not up: start it again");
    } else if health.unheard + health.leaving.draining.stores + health.leaving.removed.stores == 0
        && let Some(region) = health.worst_region().and_then(|id| view.region(id))
        && region.state == RegionState::UnderReplicated
    {
        let id = region.info.region.id;
        fault = fault.hint(match view.free_stores(region).first() {
            Some(store) => format!("flotilla ctl region add-peer --region {id} --store {store}"),
            None => {
                "start one more store: each of those that are up has a voter already".to_owned()
            }
        });
    }
    fault.hint("flotilla ctl regions   shows all of them")
}

#[cfg(test)]
mod tests {
    use flotilla_client::{StoreState, health::Contact};

    use super::*;
    use crate::health::tests::judged;

    /// What somebody is told whose third store is in this state, and in contact like this.
    fn told(state: StoreState, contact: Contact) -> String {
        let mut facts = judged([Contact::Up, Contact::Up, contact]);
        facts.stores[2].state = state;
        let view = ClusterView::of(facts);
        let health = Health::of(&view);
        let complaint = health.complaint().expect("not well");
        let pd = vec!["h:1".to_owned()];
        let globals =
            Globals { pd, timeout: std::time::Duration::from_secs(1), output: Format::Table };
        unhealthy(&globals, &view, &health, complaint).to_text()
    }

    #[test]
    fn what_leaves_is_told_with_what_is_left() {
        let (draining, removed) = (Leaving { stores: 1, replicas: 12 }, Leaving::default());
        let changes = Changes { moving: 4, waiting: 8, stuck: 0, draining, removed };
        let line =
            "CHANGES  4 under way   waiting 8   stuck 0   1 store draining, 12 replicas left\n";
        assert_eq!(changes.line(), line);
        let json = changes.json();
        assert_eq!(
            (&json["stores_leaving"], &json["draining"]["replicas_left"]),
            (&1.into(), &12.into())
        );
        let lost =
            Changes { draining: removed, removed: Leaving { stores: 2, replicas: 1 }, ..changes };
        assert!(
            lost.line().ends_with("   2 stores being removed, 1 replica left\n"),
            "{}",
            lost.line()
        );
    }

    /// The directory of a store that is being removed must never be started again.
    #[test]
    fn only_a_store_that_is_down_is_to_be_started_again() {
        let again = "start it again";
        let down = told(StoreState::Up, Contact::Down);
        assert!(down.contains("1 of 3 stores not up") && down.contains(again), "{down}");
        let leaving = told(StoreState::Offline, Contact::Down);
        for part in [
            "1 of 3 stores being removed, 1 replica left",
            "ctl operators   shows how far",
            "must never be started",
        ] {
            assert!(leaving.contains(part), "no {part} in\n{leaving}");
        }
        let early = told(StoreState::Up, Contact::Unheard);
        for part in ["1 of 3 stores not heard of yet", "try  ask again in some seconds"] {
            assert!(early.contains(part), "no {part} in\n{early}");
        }
        assert!(!leaving.contains(again) && !early.contains(again), "{leaving}{early}");
    }
}
