-- A table of appointments with columns that must be filled and that slotcast knows nothing of, and unique names and keys.
CREATE TABLE wp_appointease_appointments (
    id int unsigned NOT NULL AUTO_INCREMENT,
    name varchar(100) NOT NULL,
    email varchar(100) NOT NULL,
    phone varchar(20) NOT NULL,
    appointment_date datetime NOT NULL,
    duration smallint NOT NULL,
    status enum('pending','confirmed','created','cancelled') NOT NULL,
    service_id tinyint unsigned NOT NULL,
    employee_id mediumint(9) NOT NULL,
    notes longtext NOT NULL,
    strong_id varchar(15) NOT NULL,
    idempotency_key varchar(64) DEFAULT NULL,
    source enum('page','phone') NOT NULL,
    created_at datetime NOT NULL,
    updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    PRIMARY KEY  (id),
    UNIQUE KEY strong_id (strong_id),
    UNIQUE KEY idempotency_key (idempotency_key)
) DEFAULT CHARACTER SET latin1;
