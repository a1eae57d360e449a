<?php
/**
 * Plugin Name: slotcast
 * Description: slotcast answers AppointEase's polls; pages get its client and tokens, WordPress its bookings.
 * Version: 0.1.0
 * Requires at least: 5.5
 * Requires PHP: 7.4
 * License: MIT
 * Text Domain: slotcast
 *
 * A must-use plugin: put this file into wp-content/mu-plugins. It needs a web server that leads /ws, /slotcast/
 * and /client/ to the gateway (nginx, apache and caddy beside this folder) and, in wp-config.php, a key that is
 * among the gateway's security.token_keys; and where the gateway is, if that is not http://127.0.0.1:8080:
 *
 *     define( 'SLOTCAST_KEY', 'k1:…' ); // While a key is changed both, with a comma; the first one signs.
 *     define( 'SLOTCAST_URL', 'http://127.0.0.1:8080' );
 *
 * @package Slotcast
 */

namespace Slotcast;

defined( 'ABSPATH' ) || exit;

/** How long a token counts, in seconds. The client fetches the next one in time. */
const TOKEN_TTL = 600;
/** A message's time may be this far from now, in seconds. */
const FRESH_WITHIN = 300;
/** Whoever began to act on a booking so many seconds ago and has not finished has died. */
const DEAD_AFTER = 300;
/** So often a booking is tried whose hooks take the whole PHP process with them. */
const TRIES = 3;
/** For so many seconds it is remembered which bookings were acted on. */
const REMEMBERED = 30 * DAY_IN_SECONDS;
/** What those memories are called among the options. */
const MEMORY = 'slotcast_told_';

add_filter( 'heartbeat_settings', __NAMESPACE__ . '\heartbeat_settings' );
add_action( 'wp_enqueue_scripts', __NAMESPACE__ . '\enqueue' );
add_filter( 'script_loader_tag', __NAMESPACE__ . '\as_module', 10, 3 );
add_action( 'rest_api_init', __NAMESPACE__ . '\register_routes' );
add_action( 'appointease_appointment_created', __NAMESPACE__ . '\on_booked' );
add_action( 'appointease_new_appointment', __NAMESPACE__ . '\on_booked' );
add_action( 'appointease_appointment_cancelled', __NAMESPACE__ . '\on_changed' );
add_action( 'appointease_appointment_rescheduled', __NAMESPACE__ . '\on_rescheduled', 10, 3 );
add_filter( 'site_status_tests', __NAMESPACE__ . '\site_status_tests' );

/* What is configured. */

/** The keys shared with the gateway: secrets by their names, the one that signs first. */
function keys(): array {
	$keys = array();
	foreach ( explode( ',', defined( 'SLOTCAST_KEY' ) ? (string) SLOTCAST_KEY : '' ) as $text ) {
		$parts = explode( ':', trim( $text ), 2 );
		if ( 2 === count( $parts ) && preg_match( '/^[A-Za-z0-9_.-]+$/', $parts[0] ) && '' !== $parts[1] ) {
			$keys[ $parts[0] ] = $parts[1];
		}
	}
	return $keys;
}

/** Where PHP reaches the gateway. */
function gateway(): string {
	return untrailingslashit( defined( 'SLOTCAST_URL' ) ? (string) SLOTCAST_URL : 'http://127.0.0.1:8080' );
}

/** Where browsers reach it: on the site's own origin, at its root, wherever WordPress itself is. */
function public_address( string $path ): string {
	$site   = wp_parse_url( home_url() );
	$origin = $site['scheme'] . '://' . $site['host'] . ( isset( $site['port'] ) ? ':' . $site['port'] : '' );
	/**
	 * Filters the origin at which browsers reach the gateway.
	 *
	 * @param string $origin Scheme, host and port, without a slash at the end.
	 */
	return apply_filters( 'slotcast_origin', $origin ) . $path;
}

/* Pages: heartbeat, client, token. */

/** Whether this is a page for visitors: wp-admin and the customizer keep WordPress' own heartbeat. */
function is_front(): bool {
	return ! is_admin() && ! is_customize_preview();
}

/** Sends the heartbeats of the site's pages to the gateway. */
function heartbeat_settings( $settings ) {
	if ( is_front() ) {
		$settings['ajaxurl'] = public_address( '/slotcast/heartbeat' );
	}
	return $settings;
}

/** Enqueues the client, what it needs to know, and the heartbeat's way where a page names its own. */
function enqueue() {
	if ( ! is_front() ) {
		return;
	}
	// A page's own window.ajaxurl, as themes set it, would win over the heartbeat's settings.
	$address = json( public_address( '/slotcast/heartbeat' ) );
	$to_us   = <<<JS
jQuery.ajaxPrefilter( function ( options, asked ) {
	if ( asked.data && asked.data.action === 'heartbeat' ) {
		options.url = $address;
		options.crossDomain = false;
	}
} );
JS;
	wp_add_inline_script( 'heartbeat', $to_us, 'before' );
	/**
	 * Filters whether this page gets the client.
	 *
	 * @param bool $wanted Whether it does; by default every page for visitors.
	 */
	if ( ! apply_filters( 'slotcast_enqueue', true ) ) {
		return;
	}
	$site = array(
		'url'    => preg_replace( '/^http/', 'ws', public_address( '/ws' ) ),
		'client' => public_address( '/client/slotcast.js' ),
		'token'  => rest_url( 'slotcast/v1/token' ),
	);
	// Pages of logged-in users are not cached; in others there is nothing that may not be.
	if ( is_user_logged_in() ) {
		$site['nonce']  = wp_create_nonce( 'wp_rest' );
		$site['nonces'] = admin_url( 'admin-ajax.php?action=rest-nonce', 'relative' );
	}
	wp_register_script( 'slotcast-site', false, array(), '0.1.0', true );
	$script = sprintf( 'window.slotcast = ( %s )( %s );', page_script(), json( $site ) );
	wp_add_inline_script( 'slotcast-site', $script );
	// Without a version: a page that imports the module by its own address must get the same one.
	// phpcs:ignore WordPress.WP.EnqueuedResourceParameters.MissingVersion
	wp_register_script( 'slotcast', $site['client'], array( 'slotcast-site' ), null, true );
	wp_enqueue_script( 'slotcast' );
}

/** What a page may use: slotcast.connect() gives the client, connected; slotcast.token() a fresh token. */
function page_script(): string {
	return <<<'JS'
function ( site ) {
	var client;
	function stored() {
		try { return localStorage.slotcast_client_id; } catch ( refused ) { return undefined; }
	}
	function ask() {
		var named = client || stored() || '';
		var address = new URL( site.token, location.href );
		address.searchParams.set( 'client_id', named );
		var headers = site.nonce ? { 'X-WP-Nonce': site.nonce } : {};
		return fetch( address, { credentials: 'same-origin', cache: 'no-store', headers: headers } );
	}
	function anew( answer ) {
		if ( answer.status !== 403 || ! site.nonces ) { return answer; }
		return fetch( site.nonces, { credentials: 'same-origin', cache: 'no-store' } ).then( function ( nonce ) {
			// Who has logged out meanwhile is a visitor, and gets none.
			return nonce.ok ? nonce.text() : '';
		} ).then( function ( nonce ) {
			site.nonce = nonce;
			return ask();
		} );
	}
	function token() {
		return ask().then( anew ).then( function ( answer ) {
			if ( ! answer.ok ) { throw new Error( 'slotcast: no token, HTTP ' + answer.status ); }
			return answer.json();
		} ).then( function ( said ) {
			client = said.client_id;
			return said.token || undefined;
		} );
	}
	function connect() {
		return import( site.client ).then( function ( module ) {
			return module.connect( { url: site.url, token: token } );
		} );
	}
	return { url: site.url, client: site.client, token: token, connect: connect };
}
JS;
}

/** The client is a module. */
function as_module( $tag, $handle, $src ) {
	if ( 'slotcast' !== $handle ) {
		return $tag;
	}
	// phpcs:ignore WordPress.WP.EnqueuedResources -- It is enqueued; this is how it is printed.
	return sprintf( "<script type=\"module\" src=\"%s\" id=\"slotcast-js\"></script>\n", esc_url( $src ) );
}

/** JSON that may stand in a page. */
function json( $value ): string {
	return wp_json_encode( $value, JSON_HEX_TAG | JSON_HEX_AMP | JSON_UNESCAPED_SLASHES );
}

/* What pages and the gateway ask. */

/** Registers what pages and the gateway ask. */
function register_routes() {
	register_rest_route(
		'slotcast/v1',
		'/token',
		array(
			'methods'             => 'GET',
			'callback'            => __NAMESPACE__ . '\give_token',
			// Anybody may be somebody; whose name begins with u_ is decided by the login alone.
			'permission_callback' => '__return_true',
			'args'                => array( 'client_id' => array( 'type' => 'string' ) ),
		)
	);
	register_rest_route(
		'slotcast/v1',
		'/bookings',
		array(
			'methods'             => 'POST',
			'callback'            => __NAMESPACE__ . '\take_message',
			'permission_callback' => __NAMESPACE__ . '\is_from_gateway',
		)
	);
}

/** A token for whoever asks. A user's cookie counts with the nonce alone, as everywhere in the REST API. */
function give_token( \WP_REST_Request $request ): \WP_REST_Response {
	$named = (string) $request->get_param( 'client_id' );
	if ( is_user_logged_in() ) {
		$client = 'u_' . get_current_user_id();
	} elseif ( preg_match( '/^(?!u_|reschedule_)[A-Za-z0-9._:-]{1,128}\z/', $named ) ) {
		$client = $named;
	} else {
		$client = 'c_' . bin2hex( random_bytes( 16 ) );
	}
	$response = new \WP_REST_Response(
		array(
			'client_id' => $client,
			'token'     => token( $client ),
			'url'       => preg_replace( '/^http/', 'ws', public_address( '/ws' ) ),
		)
	);
	$response->header( 'Cache-Control', 'private, no-store, max-age=0' );
	$response->header( 'Vary', 'Cookie' );
	return $response;
}

/** A token that the gateway takes; null without a key. */
function token( string $client ): ?string {
	$keys = keys();
	if ( ! $keys ) {
		return null;
	}
	$kid     = (string) array_key_first( $keys );
	$header  = array(
		'typ' => 'JWT',
		'alg' => 'HS256',
		'kid' => $kid,
	);
	$claims  = array(
		'sub' => $client,
		'iat' => time(),
		'exp' => time() + TOKEN_TTL,
	);
	$message = base64url( wp_json_encode( $header ) ) . '.' . base64url( wp_json_encode( $claims ) );
	return $message . '.' . base64url( hash_hmac( 'sha256', $message, $keys[ $kid ], true ) );
}

/** Base64 as it travels in tokens. */
function base64url( string $bytes ): string {
	return rtrim( strtr( base64_encode( $bytes ), '+/', '-_' ), '=' );
}

/** Whether a message is signed with one of our keys, lately. */
function is_from_gateway( \WP_REST_Request $request ) {
	$keys      = keys();
	$timestamp = (string) $request->get_header( 'x_slotcast_timestamp' );
	$secret    = $keys[ (string) $request->get_header( 'x_slotcast_key' ) ] ?? null;
	$fresh     = preg_match( '/^\d{1,12}\z/', $timestamp ) && abs( time() - (int) $timestamp ) <= FRESH_WITHIN;
	$signature = (string) $request->get_header( 'x_slotcast_signature' );
	if ( null === $secret || ! $fresh ) {
		return new \WP_Error( 'slotcast_refused', 'Unknown key, or not sent just now', array( 'status' => 403 ) );
	}
	$expected = hash_hmac( 'sha256', $timestamp . '.' . $request->get_body(), $secret );
	if ( ! hash_equals( $expected, $signature ) ) {
		return new \WP_Error( 'slotcast_refused', 'Wrong signature', array( 'status' => 403 ) );
	}
	return true;
}

/** Acts on a booking made at the gateway, once, however often and on whatever ways it is told of. */
function take_message( \WP_REST_Request $request ) {
	$told = json_decode( $request->get_body(), true );
	if ( ! is_array( $told ) || 'appointment_created' !== ( $told['event'] ?? '' ) ) {
		return new \WP_REST_Response( array( 'status' => 'passed_over' ) );
	}
	$id          = (int) ( $told['id'] ?? 0 );
	$appointment = (int) ( $told['appointment_id'] ?? 0 );
	if ( $id <= 0 || $appointment <= 0 ) {
		return new \WP_Error( 'slotcast_bad_message', 'No id or no appointment_id', array( 'status' => 400 ) );
	}
	// The gateway hangs up after ten seconds; what was begun is finished.
	ignore_user_abort( true );
	$memory = MEMORY . $id . '_' . $appointment;
	$mine   = claim( $memory );
	if ( 'done' === $mine ) {
		return new \WP_REST_Response( array( 'status' => 'known' ) );
	}
	if ( null === $mine ) {
		return new \WP_Error( 'slotcast_busy', 'Somebody else is at it; ask again', array( 'status' => 409 ) );
	}
	$row = appointment( 'id', (string) $appointment );
	if ( $row && $row->strong_id === ( $told['strong_id'] ?? '' ) && is_to_come( $row ) ) {
		act_on( $row );
	}
	finish( $memory, $mine );
	return new \WP_REST_Response( array( 'status' => 'taken' ) );
}

/**
 * Claims a booking: the name of an option is unique, so one of any number of requests gets it.
 *
 * @return string|null What to show at the end; 'done' where nothing is left to do, null where it is another's.
 */
function claim( string $memory ): ?string {
	global $wpdb;
	$insert = "INSERT IGNORE INTO {$wpdb->options} (option_name, option_value, autoload) VALUES (%s, %s, 'no')";
	$mine   = 'taken ' . time() . ' 1';
	// Of many that want the same row at once, the database may end some: they have not got it, and are asked again.
	$quiet  = $wpdb->suppress_errors( true );
	$is_new = 1 === $wpdb->query( $wpdb->prepare( $insert, $memory, $mine ) );
	$wpdb->suppress_errors( $quiet );
	if ( $is_new ) {
		return $mine;
	}
	$select = "SELECT option_value FROM {$wpdb->options} WHERE option_name = %s";
	$theirs = (string) $wpdb->get_var( $wpdb->prepare( $select, $memory ) );
	$parts  = array_pad( explode( ' ', $theirs ), 3, '' );
	if ( 'done' === $parts[0] ) {
		return 'done';
	}
	if ( 'taken' !== $parts[0] || time() - (int) $parts[1] < DEAD_AFTER ) {
		return null;
	}
	if ( (int) $parts[2] >= TRIES ) {
		finish( $memory, $theirs );
		return 'done';
	}
	$mine = 'taken ' . time() . ' ' . ( (int) $parts[2] + 1 );
	return swap( $memory, $theirs, $mine ) ? $mine : null;
}

/** Notes that a booking has been acted on, and forgets old ones. */
function finish( string $memory, string $mine ) {
	global $wpdb;
	swap( $memory, $mine, 'done ' . time() );
	$forget = "DELETE FROM {$wpdb->options} WHERE option_name LIKE %s AND option_value LIKE 'done %%'
		AND CAST(SUBSTRING(option_value, 6) AS UNSIGNED) < %d LIMIT 100";
	$wpdb->query( $wpdb->prepare( $forget, $wpdb->esc_like( MEMORY ) . '%', time() - REMEMBERED ) );
}

/** Changes a memory that is still as it was seen. */
function swap( string $memory, string $from, string $to ): bool {
	global $wpdb;
	$update = "UPDATE {$wpdb->options} SET option_value = %s WHERE option_name = %s AND option_value = %s";
	return 1 === $wpdb->query( $wpdb->prepare( $update, $to, $memory, $from ) );
}

/**
 * The row of an appointment, in whichever table it is.
 *
 * @param string $column id or strong_id.
 * @param string $value  What is there.
 */
function appointment( string $column, string $value ): ?object {
	global $wpdb;
	$quiet = $wpdb->suppress_errors( true );
	foreach ( array( 'appointease_appointments', 'appointments' ) as $table ) {
		$select = "SELECT * FROM `{$wpdb->prefix}$table` WHERE $column = %s";
		$row    = $wpdb->get_row( $wpdb->prepare( $select, $value ) );
		if ( $row ) {
			break;
		}
	}
	$wpdb->suppress_errors( $quiet );
	return $row;
}

/** Whether it stands and is still to come, by the site's clock: nobody wants mail about another. */
function is_to_come( object $row ): bool {
	$stands = in_array( $row->status, array( 'confirmed', 'created' ), true );
	return $stands && $row->appointment_date >= current_time( 'mysql' );
}

/** Does what AppointEase does after a booking of its own: mail, action, webhook. Failing, each spares the others. */
function act_on( object $row ) {
	$data = array(
		'event'          => 'appointment.created',
		'appointment_id' => $row->strong_id,
		'customer'       => array(
			'name'  => $row->name,
			'email' => $row->email,
			'phone' => (string) ( $row->phone ?? '' ),
		),
		'appointment'    => array(
			'date'        => $row->appointment_date,
			'service_id'  => (int) $row->service_id,
			'employee_id' => (int) $row->employee_id,
		),
		'timestamp'      => current_time( 'mysql' ),
	);
	$steps = array(
		function () use ( $row, $data ) {
			send_confirmation( $row, $data );
		},
		function () use ( $data ) {
			// phpcs:ignore WordPress.NamingConventions.PrefixAllGlobals -- AppointEase's own.
			do_action( 'appointease_appointment_created', $data );
		},
		function () use ( $data ) {
			call_webhook( $data );
		},
	);
	acting( true );
	foreach ( $steps as $step ) {
		try {
			$step();
		} catch ( \Throwable $error ) {
			// phpcs:ignore WordPress.PHP.DevelopmentFunctions -- Whoever misses a mail looks there.
			error_log( 'slotcast: after booking ' . $row->strong_id . ': ' . $error->getMessage() );
		}
	}
	acting( false );
}

/** Whether a booking that the gateway knows is being acted on. */
function acting( ?bool $now = null ): bool {
	static $acting = false;
	$acting = $now ?? $acting;
	return $acting;
}

/** The customer's mail. */
function send_confirmation( object $row, array $data ) {
	$format = get_option( 'date_format' ) . ' ' . get_option( 'time_format' );
	$mail   = array(
		'to'      => $row->email,
		/* translators: %s: the number of the appointment. */
		'subject' => sprintf( __( 'Your appointment %s is confirmed', 'slotcast' ), $row->strong_id ),
		'message' => sprintf(
			/* translators: 1: the customer's name, 2: date and time, 3: the number of the appointment. */
			__( 'Dear %1$s, your appointment is confirmed for %2$s. Its number is %3$s.', 'slotcast' ),
			$row->name,
			mysql2date( $format, $row->appointment_date ),
			$row->strong_id
		),
	);
	/**
	 * Filters the mail to the customer of a booking made at the gateway.
	 *
	 * @param array|false $mail To, subject and message; false sends none.
	 * @param array       $data What appointease_appointment_created gets.
	 */
	$mail = apply_filters( 'slotcast_confirmation_mail', $mail, $data );
	if ( is_array( $mail ) ) {
		wp_mail( $mail['to'], $mail['subject'], $mail['message'] );
	}
}

/** AppointEase's own webhook, where the site has set one. */
function call_webhook( array $data ) {
	$address = (string) get_option( 'appointease_webhook_url' );
	if ( '' !== $address ) {
		$request = array(
			'headers'  => array( 'Content-Type' => 'application/json' ),
			'body'     => wp_json_encode( $data ),
			'blocking' => false,
		);
		wp_safe_remote_post( $address, $request );
	}
}

/* Hints: the gateway looks at a day at once, not at its next sweep. Nothing is lost without phpredis. */

/** A booking made in PHP. */
function on_booked( $data ) {
	// The gateway knows of what it has just told us.
	if ( acting() || ! is_array( $data ) ) {
		return;
	}
	$said = is_array( $data['appointment'] ?? null ) ? $data['appointment'] : array();
	$date = $said['date'] ?? null;
	$whom = $said['employee_id'] ?? null;
	if ( is_string( $date ) && '' !== $date && is_numeric( $whom ) ) {
		hint( $date, (int) $whom );
	} else {
		on_changed( $data['appointment_id'] ?? '' );
	}
}

/** A booking that was cancelled, by its number or its APT- name. */
function on_changed( $id, ...$dates ) {
	// Other plugins fire these actions too, with whatever they have: that must harm no booking.
	if ( ! is_scalar( $id ) ) {
		return;
	}
	$dates = array_filter( $dates, 'is_string' );
	$row   = appointment( is_numeric( $id ) ? 'id' : 'strong_id', (string) $id );
	if ( $row ) {
		foreach ( array_unique( array_merge( array( $row->appointment_date ), $dates ) ) as $date ) {
			hint( $date, (int) $row->employee_id );
		}
	}
}

/** A booking that was moved. */
function on_rescheduled( $id, $from = '', $to = '' ) {
	on_changed( $id, $from, $to );
}

/** Says that something changed on this day. */
function hint( string $date, int $employee_id ) {
	if ( ! class_exists( '\Redis' ) || ! preg_match( '/^\d{4}-\d\d-\d\d/', $date, $day ) ) {
		return;
	}
	try {
		$redis = new \Redis();
		// As the object cache plugins call what they need for the same Redis. One that hangs keeps no visitor waiting.
		if ( defined( 'WP_REDIS_PATH' ) ) {
			$redis->connect( WP_REDIS_PATH, 0, 0.25, null, 0, 0.25 );
		} else {
			$host = defined( 'WP_REDIS_HOST' ) ? WP_REDIS_HOST : '127.0.0.1';
			$port = defined( 'WP_REDIS_PORT' ) ? (int) WP_REDIS_PORT : 6379;
			$redis->connect( $host, $port, 0.25, null, 0, 0.25 );
		}
		if ( defined( 'WP_REDIS_PASSWORD' ) && WP_REDIS_PASSWORD ) {
			$redis->auth( WP_REDIS_PASSWORD );
		}
		$redis->publish( "appointease:slots:$day[0]:$employee_id", '{"action":"changed"}' );
		$redis->close();
	} catch ( \Throwable $away ) {
		return;
	}
}

/* Site Health. */

/** Adds ours to its tests. */
function site_status_tests( $tests ) {
	$ours = array(
		'gateway'      => __( 'slotcast answers', 'slotcast' ),
		'key'          => __( 'slotcast shares a key', 'slotcast' ),
		'object_cache' => __( 'slotcast and transients', 'slotcast' ),
	);
	foreach ( $ours as $name => $label ) {
		$test = array(
			'label' => $label,
			'test'  => __NAMESPACE__ . "\\test_$name",
		);

		$tests['direct'][ "slotcast_$name" ] = $test;
	}
	return $tests;
}

/** A result as Site Health shows it. */
function result( string $test, string $status, string $label, string $description ): array {
	return array(
		'test'        => "slotcast_$test",
		'status'      => $status,
		'label'       => $label,
		'description' => '<p>' . esc_html( $description ) . '</p>',
		'actions'     => '',
		'badge'       => array(
			'label' => 'slotcast',
			'color' => 'blue',
		),
	);
}

/** Whether the gateway is ready. */
function test_gateway(): array {
	$answer = wp_remote_get( gateway() . '/readyz', array( 'timeout' => 3 ) );
	if ( ! is_wp_error( $answer ) && 200 === wp_remote_retrieve_response_code( $answer ) ) {
		$text = __( 'Visitors see at once which slots are free.', 'slotcast' );
		return result( 'gateway', 'good', __( 'slotcast is ready', 'slotcast' ), $text );
	}
	$why  = is_wp_error( $answer ) ? $answer->get_error_message() : wp_remote_retrieve_body( $answer );
	$text = sprintf(
		/* translators: 1: an address, 2: why it does not answer. */
		__( '%1$s: %2$s. Booking pages poll in vain. Does it run, and is SLOTCAST_URL right?', 'slotcast' ),
		gateway(),
		trim( $why )
	);
	return result( 'gateway', 'critical', __( 'slotcast is not ready', 'slotcast' ), $text );
}

/** Whether the gateway knows the key that signs: null where it does not say. */
function knows_key(): ?bool {
	$beat   = array(
		'action'         => 'heartbeat',
		'slotcast_token' => token( 'site-health' ),
	);
	$answer = wp_remote_post(
		gateway() . '/slotcast/heartbeat',
		array(
			'timeout' => 3,
			'headers' => array( 'Content-Type' => 'application/json' ),
			'body'    => wp_json_encode( $beat ),
		)
	);
	$said   = json_decode( wp_remote_retrieve_body( $answer ), true );
	return isset( $said['server_time'] ) ? 'site-health' === ( $said['client_id'] ?? '' ) : null;
}

/** Whether there is a key to sign and check with. */
function test_key(): array {
	$keys = keys();
	if ( $keys && false === knows_key() ) {
		$text = array(
			__( 'SLOTCAST_KEY in wp-config.php is not among the gateway\'s security.token_keys.', 'slotcast' ),
			__( 'Its tokens are of no use to pages, and bookings made at slotcast may not be acted on.', 'slotcast' ),
			__( 'Put the same name:secret into both.', 'slotcast' ),
		);
		return result( 'key', 'critical', __( 'slotcast knows another key', 'slotcast' ), implode( ' ', $text ) );
	}
	if ( $keys && min( array_map( 'strlen', $keys ) ) >= 32 ) {
		$text = __( 'Pages get tokens, and bookings made at slotcast are acted on.', 'slotcast' );
		return result( 'key', 'good', __( 'slotcast shares a key with this site', 'slotcast' ), $text );
	}
	$label = $keys
		? __( 'The key shared with slotcast is short', 'slotcast' )
		: __( 'slotcast shares no key with this site', 'slotcast' );
	$text  = array(
		__( 'Define SLOTCAST_KEY in wp-config.php, as name:secret with 32 random characters.', 'slotcast' ),
		__( 'Put the same into security.token_keys of slotcast.', 'slotcast' ),
		__( 'Without it pages get no tokens, and no mail goes out for bookings made there.', 'slotcast' ),
	);
	return result( 'key', $keys ? 'recommended' : 'critical', $label, implode( ' ', $text ) );
}

/** Whether PHP keeps its selections where the gateway finds them while Redis is away. */
function test_object_cache(): array {
	if ( ! wp_using_ext_object_cache() ) {
		$text = __( 'While Redis is away, slotcast and PHP share selections through the database.', 'slotcast' );
		return result( 'object_cache', 'good', __( 'Transients are in the database', 'slotcast' ), $text );
	}
	$label = __( 'Transients are not in the database', 'slotcast' );
	$text  = array(
		__( 'A persistent object cache keeps transients out of the database.', 'slotcast' ),
		__( 'So slotcast and PHP do not see each other\'s selections while Redis is away.', 'slotcast' ),
		__( 'Locks and bookings are not affected.', 'slotcast' ),
	);
	return result( 'object_cache', 'recommended', $label, implode( ' ', $text ) );
}
