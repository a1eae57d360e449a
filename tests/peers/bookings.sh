# shellcheck shell=bash disable=SC2154
# Part of tests/bench, which reads it: what a booking costs, and when others' are seen.

# Bookings, with the unique guard that `migrate` adds, where Redis keeps the selections. A slot is booked once: each part
# has employees of its own.
part_bookings() {
    local title json='"date":"{date}","employee_id"' customer='"name":"Load Generator","email":"load@example.com"'
    local rest=/wp-json/appointease/v1
    title="bookings: ${booked[1]} subscribers in ${booked[3]} rooms, ${booked[5]} confirms a second"
    title+="; yardstick: a bare transaction on one connection"
    load_slotcast fanout --confirm --title "$title" --bare-mysql "$mysql_url" --store-pid "$mariadb_pid" "${booked[@]}"

    # As fast as answers come, they would exceed what one address may do.
    store+=(SLOTCAST_SECURITY_WRITES_PER_SECOND=0 SLOTCAST_SECURITY_WRITES_PER_SECOND_PER_ADDRESS=0)
    start_slotcast
    title="bookings as fast as answers come, 32 connections; yardstick: one connection"
    measure OWN poll --url "http://127.0.0.1:$slotcast_port$rest/appointments" --pid "$slotcast_pid" --title "$title" \
        --method POST --content-type application/json --connections 32 --seconds "$booking_secs" \
        --first-employee $((report_count * 1000 + 1001)) \
        --body "{$json:{employee_id},\"time\":\"{time}\",\"idempotency_key\":\"{employee_id} {time}\",$customer}"
    measure PEER bare --mysql "$mysql_url" --title "$title" --seconds "$booking_secs"
    availability "PHP promised < 5 ms"
    stop "$slotcast_pid"
    unset 'store[-1]' 'store[-1]'

    inserts "by sweeps every 1,000 ms" sweep
    stop "$mariadb_pid"
    start_mariadb --log-bin=log --binlog-format=ROW --server-id=1
    "${mariadb[@]}" --execute="GRANT REPLICATION SLAVE ON *.* TO 'app'@'%'"
    inserts "by binary log" binlog
    stop "$mariadb_pid"
    start_mariadb
}

inserts() { # HOW FOLLOWED-BY: what WordPress books, until subscribers see it
    local title="bookings by WordPress' \$wpdb->insert, $1: to ${inserted[1]} subscribers in ${inserted[3]} rooms"
    start_slotcast
    if ! eventually_followed_by "$2"; then
        say "slotcast does not learn of others' bookings $1:"
        curl -sS "http://127.0.0.1:$slotcast_port/health" >&2
        exit 1
    fi
    measure OWN fanout --url "ws://127.0.0.1:$slotcast_port/ws" --pid "$slotcast_pid" --store-pid "$mariadb_pid" \
        --first-employee $((report_count * 1000 + 1001)) --quiet-secs 2 --title "$title" "${inserted[@]}" \
        --insert-by "exec php -d display_errors=stderr -d error_log= tests/peers/wpdb.php 127.0.0.1:$mariadb_port"
    stop "$slotcast_pid"
}

eventually_followed_by() { # WAY
    for _ in $(seq 600); do
        if [[ $(curl -fs "http://127.0.0.1:$slotcast_port/health") == *"\"followed_by\":\"$1\""* ]]; then return; fi
        sleep 0.05
    done
    return 1
}
