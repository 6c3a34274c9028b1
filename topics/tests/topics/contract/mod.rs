//! What every implementation of [`Log`] must do, whatever keeps its records.
//!
//! Tests here see a log only through [`Harness`]. They count on nothing that Kafka does not promise:
//! offsets may have gaps, and waiting is for events, with a bound. [`contract_tests!`] makes a test of
//! each for an implementation.

pub mod appending;
pub mod commits;
pub mod dead_letters;
pub mod drive;
pub mod groups;
pub mod reading;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use topics::log::Log;

/// One log of its own for one test, with [`CHAIN_PARTITIONS`] partitions and nothing in it.
#[async_trait]
pub trait Harness: Send {
    fn log(&self) -> Arc<dyn Log>;

    /// Lets go of the log and opens it anew, as another process would. What was given out by
    /// [`log`](Self::log) before is of no use afterwards.
    async fn reopen(&mut self);
}

/// Partitions of chain topics in every harness.
pub const CHAIN_PARTITIONS: u32 = 4;

/// No single test takes longer.
pub const TEST_TIME_MAX: Duration = Duration::from_secs(60);

/// Makes a test of each function of the contract. The harness is made by the given async function.
macro_rules! contract_tests {
    ($harness:path) => {
        $crate::contract::contract_tests! { $harness;
            appending: records_read_back_with_key_value_headers_and_time;
            appending: a_key_decides_the_partition_and_a_given_partition_overrides_it;
            appending: records_of_a_partition_keep_their_order;
            appending: appends_of_many_callers_all_get_a_place_of_their_own;
            appending: what_a_log_does_not_have_is_refused;
            appending: a_reopened_log_goes_on_where_it_was;
            reading: a_reader_at_the_end_sees_only_what_comes_later_and_wakes;
            reading: a_reader_starts_at_an_offset_or_a_time;
            reading: a_scan_stops_at_its_end_and_goes_on_to_a_later_one;
            reading: a_reader_of_several_partitions_sees_each_in_order;
            reading: a_reader_that_waits_in_vain_comes_back_with_nothing;
            reading: a_place_beyond_the_end_is_out_of_range;
            reading: an_abandoned_wait_loses_nothing;
            groups: a_lone_member_gets_every_partition_and_every_record;
            groups: members_share_partitions_as_they_join_and_leave;
            groups: a_member_that_dies_silently_loses_its_partitions;
            groups: a_second_member_of_the_same_name_fences_the_first;
            groups: revoked_partitions_can_be_committed_until_they_are_given_up;
            groups: a_batch_keeps_its_limits_and_no_partition_starves;
            groups: nothing_comes_of_a_partition_before_it_is_started;
            groups: a_partition_starts_only_within_its_bounds;
            groups: lag_counts_what_was_not_committed;
            commits: outputs_and_positions_are_there_after_a_commit;
            commits: a_failed_commit_leaves_nothing_visible;
            commits: a_zombies_commit_never_lands;
            commits: a_commit_survives_reopening;
            dead_letters: a_dead_letter_tells_what_came_why_and_from_where;
            dead_letters: a_letter_that_was_put_back_is_put_back_once_and_counts_its_tries;
            dead_letters: a_redrive_that_dies_in_the_middle_goes_on_where_it_was;
        }
    };
    ($harness:path; $($module:ident: $test:ident;)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                let run = async { $crate::contract::$module::$test(&mut $harness().await).await };
                tokio::time::timeout($crate::contract::TEST_TIME_MAX, run).await.expect("the test takes too long");
            }
        )*
    };
}

pub(crate) use contract_tests;
