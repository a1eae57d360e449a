<?php
/**
 * Appointments by WordPress' own $wpdb->insert, for tests/bench. It prints "ready", then for each line it reads, a row's
 * columns as JSON, "ok" or what went wrong. Its argument is MariaDB's address. Of WordPress it loads what $wpdb needs:
 * no site is installed.
 */
define('ABSPATH', '/usr/share/wordpress/');
define('SHORTINIT', true);
define('DB_NAME', 'site');
define('DB_USER', 'app');
define('DB_PASSWORD', 'app');
define('DB_HOST', $argv[1]);
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = 'wp_';
$_SERVER += ['HTTP_HOST' => '127.0.0.1:9', 'SERVER_PROTOCOL' => 'HTTP/1.1', 'REQUEST_METHOD' => 'GET'];
require ABSPATH . 'wp-settings.php';

echo "ready\n";
while (($line = fgets(STDIN)) !== false) {
    $inserted = $wpdb->insert($wpdb->prefix . 'appointease_appointments', json_decode($line, true));
    echo $inserted === 1 ? 'ok' : 'not inserted: ' . strtr($wpdb->last_error, "\n", ' '), "\n";
}
