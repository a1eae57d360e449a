# shellcheck shell=bash disable=SC2034,SC2154
# Part of tests/bench, which reads it: what everything costs where MySQL is the only store.

empty_options() { # between two gateways, so that the next finds nothing of the last one's
    "${mariadb[@]}" site --execute="DELETE FROM wp_options"
}

mysql_across() { # SCENARIO OPTIONS...: subscribers on one gateway, selects on another
    local select_port select_pid
    empty_options
    start_slotcast slotcast-other
    select_port=$slotcast_port select_pid=$slotcast_pid
    start_slotcast
    if [ "$1" = hold ]; then set -- "$@" --select-pid "$select_pid"; fi
    measure OWN "$1" --url "ws://127.0.0.1:$slotcast_port/ws" --pid "$slotcast_pid" --store-pid "$mariadb_pid" \
        --select-at "ws://127.0.0.1:$select_port/ws" "${@:2}"
    stop "$slotcast_pid" "$select_pid"
}

part_mysql() {
    local rooms reply title on="on MySQL alone"
    title="$on: ${mysql_select[1]} subscribers in ${mysql_select[3]} rooms, ${mysql_select[5]} selects a second"
    title+=" (PHP promised 10 ms); yardstick: a bare transaction"
    empty_options
    load_slotcast fanout --title "$title" --bare-mysql "$mysql_url" --store-pid "$mariadb_pid" "${mysql_select[@]}"
    empty_options
    start_slotcast
    polls "$on; PHP promised 20 ms" "$on; PHP promised 100 ms" "${mysql_polled[@]}"
    availability "$on; PHP promised 50 ms"
    stop "$slotcast_pid"
    title="$on: ${mysql_across[1]} subscribers of another gateway, ${mysql_across[5]} selects a second (aim: 1,100 ms)"
    mysql_across fanout --title "$title" --quiet-secs 2 "${mysql_across[@]}"
    for rooms in "${held_rooms[@]}"; do
        mysql_across hold --title "$on: $rooms rooms with a selection, sweeps every 1,000 ms" --rooms "$rooms" "${held[@]}"
    done
    title="$on: ${mysql_site[1]} clients in ${mysql_site[3]} rooms, ${mysql_site[5]} selects a second"
    empty_options
    load_slotcast fanout --title "$title" --store-pid "$mariadb_pid" "${mysql_site[@]}"
}
