//! What a playground shows: nodes as they come up, where everything is, and a line on how it does.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use flotilla_client::Client;
use rustix::termios::tcgetwinsize;

use super::{
    descriptor::Descriptor,
    fleet::Fleet,
    plan::{Lifetime, NodePlan, Plan, Role},
    ready::Readiness,
};
use crate::{
    context,
    fault::Fault,
    health::{ClusterView, Health},
    output, text,
};

/// How often the last line is brought up to date on a terminal, and looked at elsewhere.
const TERMINAL_PERIOD: Duration = Duration::from_secs(1);
const PLAIN_PERIOD: Duration = Duration::from_secs(10);
/// How long the question for the last line may take.
const FOOTER_TIMEOUT: Duration = Duration::from_millis(900);

/// The first lines.
pub(super) fn heading(plan: &Plan) -> Result<(), Fault> {
    let version = env!("CARGO_PKG_VERSION");
    let stores = text::counted(plan.stores().count() as u64, "store");
    let name = plan.name.as_deref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    let form = if plan.is_processes { "each in its own process" } else { "in one process" };
    output::print(&format!("flotilla {version}  playground{name}  1 PD + {stores} {form}\n\n"))
}

/// One node serves.
pub(super) fn node_ready(node: &NodePlan, took: Duration) -> Result<(), Fault> {
    let status = node.status.map(|status| format!("   status {status}")).unwrap_or_default();
    let zone = node.labels.get("zone").map(|zone| format!("   zone={zone}")).unwrap_or_default();
    let (name, seconds, address) = (&node.name, took.as_secs_f64(), node.address);
    output::print(&format!("  {name:<9} ready  {seconds:.2} s   {address}{status}{zone}\n"))
}

/// One store is not started, since it was removed from its cluster. Told to programs as well, beside their output.
pub(super) fn node_removed(node: &NodePlan) {
    let (name, data) = (&node.name, node.data.display());
    output::note(&format!(
        "  {name:<9} was removed from the cluster and is not started; for a new store in its place: rm -r {data}"
    ));
}

/// Everything is ready: where it is, and what to do next.
pub(super) fn banner(fleet: &Fleet, readiness: &Readiness, took: Duration) -> Result<(), Fault> {
    let plan = fleet.plan();
    let Readiness { regions, voters, written } = readiness;
    let seconds = took.as_secs_f64();
    let mut text = format!(
        "  {regions:<2} regions ready {seconds:.2} s   {} each; read: all, written: {written}\n\n",
        text::counted(*voters as u64, "voter"),
    );
    // What the data directory holds counts, not what a new one would get.
    let safety = match voters {
        0 | 1 => "every key is stored once, no store may fail.".to_owned(),
        2 => "every key is stored twice, no store may fail.".to_owned(),
        more => format!("every key is stored {more} times, one store may fail."),
    };
    text.push_str(&format!("Playground is up: {safety}\n"));
    let late: Vec<&str> = plan.late_stores().map(|store| store.name.as_str()).collect();
    if !late.is_empty() {
        let late = late.join(", ");
        text.push_str(&format!("New to this data, and without regions: {late}\n"));
    }
    text.push('\n');
    let pd = plan.pd_address();
    let mut row = |label: &str, place: String, remark: &str| {
        text.push_str(format!("  {label:<9} {place:<32} {remark}").trim_end());
        text.push('\n');
    };
    row("PD", pd.to_string(), "TiKV clients and pd-ctl connect here");
    row("Metrics", format!("http://{pd}/metrics"), "pd-1");
    let present = fleet.present();
    let stores = || present.iter().filter(|node| node.role == Role::Store);
    for store in stores() {
        if let Some(status) = store.status {
            row("", format!("http://{status}/metrics"), &store.name);
        }
    }
    let fate = match plan.lifetime {
        Lifetime::Temporary => "deleted on exit; keep it: --name NAME or --data DIR",
        Lifetime::Kept => "kept",
    };
    row("Data", plan.data.display().to_string(), fate);
    row("Logs", plan.log.display().to_string(), "");
    let killable = stores().next().filter(|_| *voters > 2);
    text.push_str(&suggested(killable.map(|node| node.name.as_str()), &pd.to_string()));
    output::print(&format!("{text}\nCtrl-C stops it.\n"))
}

/// What to do in another terminal. Where more playgrounds run, each command names this one.
fn suggested(killable: Option<&str>, pd: &str) -> String {
    let mut lines = "\nIn another terminal:\n  \
         flotilla put hello world && flotilla get hello\n  \
         flotilla bench --duration 10s\n  \
         flotilla ctl status\n"
        .to_owned();
    if let Some(name) = killable {
        lines.push_str(&format!("  flotilla playground kill {name}\n"));
    }
    if Descriptor::living().iter().any(|one| one.pd != [pd]) {
        context::with_pd(pd, &lines)
    } else {
        lines
    }
}

/// Shows how the cluster does, until dropped: a line that is rewritten on a terminal; elsewhere a new
/// line when something has changed, at most one in ten seconds.
pub(super) async fn footer(client: Client, fleet: &Fleet) {
    let is_terminal = io::stdout().is_terminal();
    let period = if is_terminal { TERMINAL_PERIOD } else { PLAIN_PERIOD };
    let started = Instant::now();
    let mut shown = String::new();
    loop {
        tokio::time::sleep(period).await;
        let line = summary(&client, fleet).await;
        let written = if is_terminal {
            let seconds = started.elapsed().as_secs();
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let line = format!(" {hours:02}:{minutes:02}:{seconds:02}  {line}");
            write(&format!("\r\x1b[K{}", fitted(&line, columns())))
        } else if line == shown {
            Ok(())
        } else {
            write(&format!("{line}\n"))
        };
        shown = line;
        if written.is_err() {
            return;
        }
    }
}

/// Characters that the terminal shows in a line, without the last one, behind which some terminals go on below.
fn columns() -> usize {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 1 => usize::from(size.ws_col) - 1,
        // It does not say.
        _ => usize::MAX,
    }
}

/// As much of `line` as `columns` hold: what begins in a further row is not taken back with the line. Whole statements
/// where most of the room is used then.
fn fitted(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let cut: String = line.chars().take(columns.saturating_sub(1)).collect();
    let whole = cut.rfind("; ").filter(|end| *end * 2 > cut.len()).unwrap_or(cut.len());
    format!("{}…", cut[..whole].trim_end())
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

async fn summary(client: &Client, fleet: &Fleet) -> String {
    let nodes = format!("{}/{} nodes up", fleet.up(), fleet.present().len());
    let admin = client.admin().with_deadline(FOOTER_TIMEOUT);
    let Ok(view) = ClusterView::look(&admin, &fleet.down_stores()).await else {
        return format!("{nodes}  the placement driver does not answer");
    };
    let health = Health::of(&view);
    let regions = text::counted(health.regions as u64, "region");
    let state = match health.complaint() {
        None => format!("{regions}, all led; {}", health.may_fail_text()),
        Some(complaint) => complaint,
    };
    format!("{nodes}  {state}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_to_the_width_of_its_terminal() {
        let line = " 00:01:02  3/4 nodes up  degraded: 1 of 3 stores not up; 2 of 2 regions under-replicated";
        assert_eq!(fitted(line, usize::MAX), line);
        assert_eq!(fitted(line, line.len()), line);
        let whole = " 00:01:02  3/4 nodes up  degraded: 1 of 3 stores not up…";
        assert_eq!(fitted(line, 79), whole);
        assert_eq!(fitted(line, 40), " 00:01:02  3/4 nodes up  degraded: 1 of…");
        for columns in 0..line.len() {
            let shown = fitted(line, columns).chars().count();
            assert!(shown <= columns.max(1), "{shown} in {columns}");
        }
        assert_eq!(fitted("größe ist größer", 8), "größe i…");
    }
}
