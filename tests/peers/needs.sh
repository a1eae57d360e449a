# What tests/bench needs of the system, installed where it is missing. Sourced by it.

needs() {
    local missing=()
    command -v redis-server >/dev/null || missing+=(redis-server)
    command -v wrk >/dev/null || missing+=(wrk)
    command -v nginx >/dev/null || missing+=(nginx-light)
    [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || missing+=(libnginx-mod-nchan)
    command -v npm >/dev/null || missing+=(nodejs npm)
    if { has mysql || has bookings; } && ! [ -x /usr/sbin/mariadbd ]; then missing+=(mariadb-server); fi
    if has bookings; then # WordPress' own code books; no web server takes part in that
        command -v php >/dev/null || missing+=(php-cli)
        compgen -G '/usr/lib/php/*/mysqli.so' >/dev/null || missing+=(php-mysql)
        [ -e /usr/share/wordpress/wp-settings.php ] || missing+=(wordpress)
    fi
    if [ ${#missing[@]} -gt 0 ]; then
        say "installing ${missing[*]}"
        apt-get update -qq >&2
        # RUNLEVEL=1 keeps the packages from starting services of their own.
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
    fi
}
