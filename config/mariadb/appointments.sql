-- The table of appointments as the AppointEase plugin creates it: slotcast books in it.
-- Played by compose.yaml into an empty database, by tests and benchmarks.
CREATE TABLE wp_appointease_appointments (
    id bigint(20) unsigned NOT NULL AUTO_INCREMENT,
    name varchar(100) NOT NULL,
    email varchar(100) NOT NULL,
    phone varchar(20),
    appointment_date datetime NOT NULL,
    status varchar(20) DEFAULT 'confirmed',
    service_id mediumint(9),
    employee_id mediumint(9) NOT NULL,
    notes text,
    strong_id varchar(20),
    idempotency_key varchar(128),
    created_at datetime DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY  (id),
    UNIQUE KEY strong_id (strong_id),
    KEY employee_date (employee_id, appointment_date)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci;
