//! Scripts of `testscripts/`: the order in which a store's effects become actions, one script for each
//! rule of `round.rs`. Regenerate with `UPDATE_GOLDENFILES=1`, and read what changed.

mod harness;

use harness::Stores;

fn run(script: &str) -> std::io::Result<()> {
    goldenscript::run(&mut Stores::default(), format!("tests/testscripts/{script}"))
}

#[test]
fn f0_terms_before_messages() -> std::io::Result<()> {
    run("f0_terms_before_messages")
}

#[test]
fn f2_leader_sends_before_its_write() -> std::io::Result<()> {
    run("f2_leader_sends_before_its_write")
}

#[test]
fn f3_one_batch_for_the_round() -> std::io::Result<()> {
    run("f3_one_batch_for_the_round")
}

#[test]
fn f4_promises_are_durable() -> std::io::Result<()> {
    run("f4_promises_are_durable")
}

#[test]
fn f5_notice_before_messages() -> std::io::Result<()> {
    run("f5_notice_before_messages")
}

#[test]
fn f6_applied_is_committed_and_durable() -> std::io::Result<()> {
    run("f6_applied_is_committed_and_durable")
}

#[test]
fn f8_appliers_answer_writes() -> std::io::Result<()> {
    run("f8_appliers_answer_writes")
}

#[test]
fn reads() -> std::io::Result<()> {
    run("reads")
}

#[test]
fn bootstrap_and_restart() -> std::io::Result<()> {
    run("bootstrap_and_restart")
}

#[test]
fn damage() -> std::io::Result<()> {
    run("damage")
}

#[test]
fn f1_permits_before_all() -> std::io::Result<()> {
    run("f1_permits_before_all")
}

#[test]
fn reads_in_place() -> std::io::Result<()> {
    run("reads_in_place")
}

#[test]
fn replica_reads() -> std::io::Result<()> {
    run("replica_reads")
}

#[test]
fn full_queue() -> std::io::Result<()> {
    run("full_queue")
}

#[test]
fn transfer() -> std::io::Result<()> {
    run("transfer")
}

#[test]
fn guarded_writes() -> std::io::Result<()> {
    run("guarded_writes")
}

#[test]
fn f7_births_behind_permits() -> std::io::Result<()> {
    run("f7_births_behind_permits")
}

#[test]
fn split_and_restart() -> std::io::Result<()> {
    run("split_and_restart")
}

#[test]
fn snapshot_to_a_follower_that_fell_behind() -> std::io::Result<()> {
    run("snapshot_to_a_follower_that_fell_behind")
}

#[test]
fn snapshot_to_a_new_peer() -> std::io::Result<()> {
    run("snapshot_to_a_new_peer")
}

#[test]
fn snapshot_refused_overlap() -> std::io::Result<()> {
    run("snapshot_refused_overlap")
}

#[test]
fn install_crash_at_each_step() -> std::io::Result<()> {
    run("install_crash_at_each_step")
}

#[test]
fn split_refused() -> std::io::Result<()> {
    run("split_refused")
}

#[test]
fn change_add_learner_and_promote() -> std::io::Result<()> {
    run("change_add_learner_and_promote")
}

#[test]
fn change_joint_and_leave() -> std::io::Result<()> {
    run("change_joint_and_leave")
}

#[test]
fn change_refused() -> std::io::Result<()> {
    run("change_refused")
}

#[test]
fn remove_and_tombstone() -> std::io::Result<()> {
    run("remove_and_tombstone")
}

#[test]
fn leader_removed_elsewhere() -> std::io::Result<()> {
    run("leader_removed_elsewhere")
}

#[test]
fn late_message_to_tombstone() -> std::io::Result<()> {
    run("late_message_to_tombstone")
}

#[test]
fn split_onto_tombstone() -> std::io::Result<()> {
    run("split_onto_tombstone")
}

#[test]
fn split_and_removed_in_one_turn() -> std::io::Result<()> {
    run("split_and_removed_in_one_turn")
}

#[test]
fn destroy_crash_at_each_step() -> std::io::Result<()> {
    run("destroy_crash_at_each_step")
}

#[test]
fn snapshot_to_a_learner() -> std::io::Result<()> {
    run("snapshot_to_a_learner")
}

#[test]
fn removed_and_crashed() -> std::io::Result<()> {
    run("removed_and_crashed")
}

#[test]
fn removed_while_installing() -> std::io::Result<()> {
    run("removed_while_installing")
}

#[test]
fn sleep_and_wake() -> std::io::Result<()> {
    run("sleep_and_wake")
}

#[test]
fn sleep_and_loss() -> std::io::Result<()> {
    run("sleep_and_loss")
}

#[test]
fn sleep_and_death() -> std::io::Result<()> {
    run("sleep_and_death")
}

#[test]
fn sleep_and_restart() -> std::io::Result<()> {
    run("sleep_and_restart")
}

#[test]
fn removed_from_a_store_that_is_gone() -> std::io::Result<()> {
    run("removed_from_a_store_that_is_gone")
}

#[test]
fn removed_from_a_store_that_comes_back() -> std::io::Result<()> {
    run("removed_from_a_store_that_comes_back")
}

#[test]
fn started_beside_its_leader() -> std::io::Result<()> {
    run("started_beside_its_leader")
}

#[test]
fn late_views() -> std::io::Result<()> {
    run("late_views")
}

#[test]
fn late_sends() -> std::io::Result<()> {
    run("late_sends")
}

#[test]
fn late_reads_of_the_log() -> std::io::Result<()> {
    run("late_reads_of_the_log")
}

#[test]
fn late_syncs() -> std::io::Result<()> {
    run("late_syncs")
}

#[test]
fn sleep_tells_first() -> std::io::Result<()> {
    run("sleep_tells_first")
}

#[test]
fn sleep_refused() -> std::io::Result<()> {
    run("sleep_refused")
}

#[test]
fn memory() -> std::io::Result<()> {
    run("memory")
}

#[test]
fn cleaned_before_its_successor() -> std::io::Result<()> {
    run("cleaned_before_its_successor")
}

#[test]
fn sleep_drops_the_cache() -> std::io::Result<()> {
    run("sleep_drops_the_cache")
}

#[test]
fn damaged_old_log() -> std::io::Result<()> {
    run("damaged_old_log")
}
