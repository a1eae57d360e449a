<?php
// The test's own plugin on a site: a booking page as AppointEase has it, another plugin's heartbeat, and a note of what
// hooks and mails there were. tests/support/site.rs installs it.

function witness_note( $kind, $what ) {
	file_put_contents( ABSPATH . "$kind.log", wp_json_encode( $what ) . "\n", FILE_APPEND | LOCK_EX );
}

add_action( 'appointease_appointment_created', function ( $data ) {
	witness_note( 'created', $data );
	if ( get_option( 'witness_slow' ) ) {
		usleep( 300000 );
	}
	if ( get_option( 'witness_fails' ) ) {
		throw new RuntimeException( 'as the test asked' );
	}
} );

add_filter( 'pre_wp_mail', function ( $sent, $mail ) {
	witness_note( 'mail', $mail );
	return true;
}, 10, 2 );

// Another plugin on the same page.
$witness_other = function ( $response, $data ) {
	if ( isset( $data['other_plugin'] ) ) {
		$response['other_plugin'] = array(
			'said'  => $data['other_plugin'],
			'user'  => get_current_user_id(),
			'polls' => isset( $data['appointease_poll'] ),
		);
	}
	return $response;
};
add_filter( 'heartbeat_received', $witness_other, 10, 2 );
add_filter( 'heartbeat_nopriv_received', $witness_other, 10, 2 );

// A page of the site with AppointEase's hook on it: it adds its poll to each heartbeat, and reads the lists of the answer.
// Before WordPress looks whether the address is the best one: it finds none for a page that is not among its posts.
add_action( 'template_redirect', function () {
	if ( ! isset( $_GET['booking_page'] ) ) {
		return;
	}
	wp_enqueue_script( 'heartbeat' );
	wp_add_inline_script( 'heartbeat', <<<'JS'
window.seen = [];
jQuery( document ).on( 'heartbeat-send', function ( event, data ) {
	if ( window.poll ) { data.appointease_poll = window.poll; }
	if ( window.other ) { data.other_plugin = window.other; }
} ).on( 'heartbeat-tick', function ( event, data ) {
	window.seen.push( data );
} );
wp.heartbeat.interval( 'fast' );
JS
	);
	status_header( 200 );
	echo '<!DOCTYPE html><html><head><meta charset="utf-8"><title>Booking</title>';
	if ( isset( $_GET['own_ajaxurl'] ) ) {
		// As some themes do, for their own scripts.
		echo '<script>var ajaxurl = ' . wp_json_encode( admin_url( 'admin-ajax.php' ) ) . ';</script>';
	}
	wp_head();
	echo '</head><body>';
	wp_footer();
	echo '</body></html>';
	exit;
}, 0 );
