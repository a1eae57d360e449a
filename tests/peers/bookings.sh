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
    title="availability of a room that is known, ${asked[3]} reads a second"
    measure OWN poll --url "http://127.0.0.1:$slotcast_port$rest/availability" --pid "$slotcast_pid" --title "$title" \
        --method POST --content-type application/json --body "{$json:1}" "${asked[@]}"
    title="availability of a room that nobody looked at, ${asked[3]} reads a second"
    measure OWN poll --url "http://127.0.0.1:$slotcast_port$rest/availability" --pid "$slotcast_pid" --title "$title" \
        --method POST --content-type application/json --first-employee $((report_count * 10000 + 1000001)) \
        --body "{$json:{n}}" "${asked[@]}"
    stop "$slotcast_pid"
    unset 'store[-1]' 'store[-1]'

    title="bookings by plain SQL, by sweeps every 1,000 ms: from the INSERT to ${inserted[1]} subscribers in ${inserted[3]} rooms"
    load_slotcast fanout --insert-at "$mysql_url" --quiet-secs 2 --title "$title" --store-pid "$mariadb_pid" "${inserted[@]}"
}
