//! The address that messages go to, asked of WordPress' own code: it must lead to a plugin's route however the site is set
//! up.

use support::{MariaDb, WordPress};

/// Answers a request for `$args[0]` on a site with the permalinks `$args[1]`, as `index.php` does.
const SERVE: &str = r"
add_action('rest_api_init', fn() => register_rest_route('slotcast/v1', '/bookings', [
    'methods' => 'POST',
    'permission_callback' => '__return_true',
    'callback' => fn($request) => ['key' => $request->get_header('x-slotcast-key')],
]));
$wp_rewrite->set_permalink_structure($args[1]);
[$path, $query] = explode('?', $args[0] . '?');
parse_str($query, $_GET);
$_SERVER = array_merge($_SERVER, [
    'REQUEST_METHOD' => 'POST', 'REQUEST_URI' => $args[0], 'PHP_SELF' => $path, 'QUERY_STRING' => $query,
    'HTTP_X_SLOTCAST_KEY' => 'k1',
]);
wp();
echo 'no route';
";

#[tokio::test]
async fn wordpress_finds_the_route_with_and_without_pretty_permalinks_and_in_a_folder() {
    let maria = MariaDb::start().await;
    let wordpress = WordPress::on(&maria).await;
    for folder in ["", "/blog"] {
        for permalinks in ["", "/%postname%/"] {
            let address = format!("{folder}/index.php?rest_route=/slotcast/v1/bookings");
            let answer = wordpress.eval(SERVE, &[&address, permalinks]).await;
            assert_eq!(answer, r#"{"key":"k1"}"#, "{address} with {permalinks:?}");
        }
    }
}
