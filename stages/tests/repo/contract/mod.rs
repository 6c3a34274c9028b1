//! What every store does, whatever database keeps it.
//!
//! `store_contract!(name, factory)` makes a module of tests of that name, each on a fresh store.

pub mod concurrent;
pub mod edits;
pub mod groups;
pub mod messages;
pub mod read_marks;
pub mod retention;
pub mod users;

/// All tests of the contract over the stores that a factory makes.
macro_rules! store_contract {
    ($name:ident, $factory:path) => {
        mod $name {
            $crate::contract::store_tests!($factory, messages given with_users: [
                a_batch_written_twice_is_written_once,
                a_place_taken_by_another_message_is_fatal,
                an_id_taken_by_another_place_is_fatal,
                a_batch_is_written_whole_or_not_at_all,
                a_record_without_identity_is_fatal,
                every_text_comes_back_as_it_was,
                ids_reach_to_the_edge_of_64_bits,
                both_users_have_a_conversation_once_one_has_spoken,
                unread_counts_from_the_later_of_mark_and_own_message,
                read_marks_never_move_back_nor_beyond_the_end,
                an_older_batch_does_not_move_a_conversation_back,
                history_pages_in_both_directions,
                a_scan_reads_every_message_by_id,
                conversations_come_newest_first_page_by_page,
                heads_are_those_that_changed,
                a_thousand_messages_of_many_conversations_are_all_there,
            ]);
            $crate::contract::store_tests!($factory, edits given with_users: [
                edits_move_forward_only,
                only_the_sender_changes_an_earlier_message,
                a_recall_blanks_the_message_and_its_edits_for_good,
                an_edit_keeps_its_text_until_its_own_target_is_recalled,
            ]);
            $crate::contract::store_tests!($factory, retention given with_users: [
                what_is_removed_is_gone_and_the_sequence_goes_on,
                a_conversation_without_messages_keeps_its_place_and_its_head,
                unread_counts_what_is_still_there,
                a_repeat_does_not_bring_back_what_was_removed,
                what_is_about_a_removed_message_is_blanked,
                the_oldest_messages_are_found_by_id,
                conversations_are_walked_through_page_by_page,
                one_holder_at_a_time_has_the_lease,
                two_who_remove_at_once_and_a_writer_lose_nothing,
            ]);
            $crate::contract::store_tests!($factory, users given nobody: [
                a_name_is_taken_whatever_its_case,
                an_email_address_is_one_users_whatever_its_case,
                of_two_registrations_with_one_address_at_once_one_wins,
                of_two_registrations_at_once_one_wins,
                a_profile_changes_where_it_is_told_to,
                of_many_users_those_that_exist_are_read_at_once,
                a_refresh_token_works_once_and_its_reuse_ends_the_family,
                an_expired_refresh_token_is_unknown,
                a_banned_user_gets_no_new_token,
                a_logout_ends_the_family_and_no_other,
                sign_ins_are_listed_and_end_together_with_a_new_password,
                a_sign_in_goes_on_until_it_is_ended,
                the_newest_id_is_of_users_and_groups,
            ]);
            $crate::contract::store_tests!($factory, groups given with_users: [
                every_change_raises_the_version_and_leaves_one_event,
                each_actor_may_do_what_the_rules_say,
                a_full_group_takes_nobody,
                what_changes_nothing_leaves_no_event,
                a_new_member_reads_from_where_they_joined,
                who_left_has_nothing_any_more,
                a_group_once_large_stays_large,
                an_unknown_user_is_named_and_nobody_is_added,
                a_dissolved_group_keeps_its_history_only,
                published_events_are_gone,
                members_come_page_by_page,
                a_group_made_twice_is_there_once,
            ]);
            $crate::contract::store_tests!($factory, read_marks given with_users: [
                both_marks_of_a_pair_are_shown,
                marks_of_present_members_of_a_group_are_shown,
                in_large_groups_and_the_world_no_marks_are_shown,
                a_batch_tells_which_marks_it_raised,
            ]);
            $crate::contract::store_tests!($factory, concurrent given nobody: [
                writers_of_the_same_conversations_lose_nothing,
                members_come_and_go_while_messages_come,
                of_two_uses_of_a_token_at_once_one_is_reuse,
            ]);
        }
    };
}
pub(crate) use store_contract;

/// One test function for each name, calling the one of that name in a module of the contract, on a store that the fixture
/// has prepared.
macro_rules! store_tests {
    ($factory:path, $module:ident given $fixture:ident: [$($test:ident,)*]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let test = $factory().await;
                $crate::fixtures::$fixture(&test.store).await;
                let checked = $crate::contract::$module::$test(std::sync::Arc::clone(&test.store));
                let bound = std::time::Duration::from_secs(60);
                tokio::time::timeout(bound, checked).await.expect("a test takes no minute");
                drop(test);
            }
        )*
    };
}
pub(crate) use store_tests;
