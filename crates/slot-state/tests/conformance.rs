//! One suite of behaviours of a `HoldStore`, run on every backend: its trait's documentation, tested.
//! A behaviour is a function of an open store; the list below names each once.

mod bookings;
mod endings;
mod lifetimes;
mod outcomes;
mod stores;

/// How long a lock lasts where a test does not wait for its end, and where it does.
const LOCK_TTLS: [std::time::Duration; 2] =
    [std::time::Duration::from_secs(60), std::time::Duration::from_millis(700)];

macro_rules! behaviours {
    ($stores:tt $behaviours:tt) => {
        behaviours!(@each $stores $behaviours);
    };
    (@each { $($store:ident)* } $behaviours:tt) => {
        $(behaviours!(@on $store $behaviours);)*
    };
    (@on $store:ident {
        $($module:ident { $($name:ident),* $(,)? } lock_ttl $ttl:literal)*
    }) => {
        mod $store {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let (house, _servers) = crate::conformance::stores::$store(crate::conformance::LOCK_TTLS[$ttl]).await;
                    crate::conformance::$module::$name(house).await;
                }
            )*)*
        }
    };
}

behaviours! { { in_memory on_redis on_mysql on_redis_with_mysql } {
    outcomes {
        a_free_slot_is_selected_and_shown_before_the_answer,
        selecting_an_own_selection_again_renews_it,
        selecting_an_own_lock_changes_nothing,
        what_another_holds_is_neither_selected_nor_locked,
        a_move_is_one_change_with_no_state_between,
        selections_in_different_rooms_do_not_end_each_other,
        deselecting_releases_only_an_own_selection,
        a_selection_becomes_the_lock,
        locking_again_gives_the_same_fence_and_the_time_left,
        fences_rise,
        unlocking_releases_only_an_own_lock,
        a_client_has_three_locks_at_most_until_it_unlocks_one,
        a_client_in_a_hurry_has_three_locks_and_no_more,
        what_another_selected_is_refused_however_often_it_is_asked_for_at_once,
        a_lock_taken_while_the_last_one_is_given_back_stands,
        clients_are_compared_byte_for_byte,
        of_many_at_once_one_wins,
        one_client_in_a_hurry_ends_with_one_selection,
    } lock_ttl 0
    lifetimes {
        a_selection_ends_on_time,
        a_renewed_selection_outlives_its_first_deadline,
        a_renewal_may_bring_the_end_nearer,
        a_renewal_of_what_is_not_ones_own_is_lost,
        what_is_gone_is_put_back_only_where_asked_and_free,
        a_selection_elsewhere_in_the_room_supersedes_what_is_gone,
        many_renewals_are_answered_in_the_order_asked,
        shortening_never_prolongs_and_leaves_others_alone,
        looking_at_what_lives_changes_nothing,
    } lock_ttl 0
    endings {
        a_release_says_that_its_holder_gave_it_up_and_on_which_connection,
        a_release_by_address_needs_the_same_address,
        an_address_has_one_tag_and_its_ipv6_spelling_the_same,
        every_hold_of_a_client_is_found,
    } lock_ttl 0
    lifetimes {
        a_lock_ends_on_time_and_its_slot_and_place_are_free_again,
    } lock_ttl 1
} }

/// Where there are bookings.
mod booking {
    behaviours! { { in_memory on_mysql on_redis_with_mysql } {
        bookings {
            a_free_slot_is_booked_and_shown_before_the_answer,
            a_booking_ends_the_clients_own_hold_in_the_same_change,
            a_lock_of_another_refuses_and_so_does_a_selection,
            a_booked_slot_is_neither_selected_nor_locked_nor_booked,
            a_fence_that_is_not_the_locks_is_refused,
            a_fence_of_a_lock_that_has_ended_is_no_hindrance,
            the_same_key_gets_the_first_answer_and_with_other_data_a_refusal,
            a_refused_key_may_be_used_again,
            each_client_has_its_own_keys,
            of_many_at_once_one_books,
            one_key_at_once_books_once,
        } lock_ttl 0
        bookings {
            a_lock_that_has_ended_leaves_the_slot_to_whoever_comes_first,
        } lock_ttl 1
    } }
}

#[tokio::test]
async fn redis_alone_takes_no_bookings() {
    let (house, _servers) = stores::on_redis(LOCK_TTLS[0]).await;
    let ten = crate::house::slot("10:00");
    assert_eq!(
        crate::house::book_refusal(house.confirm(ten, "ann").await),
        slot_state::BookRefusal::NoDatabase
    );
    assert_eq!(house.view(ten.room), slot_state::RoomView::default());
}
