-- A table of appointments with the fewest columns, under the name that older versions used.
CREATE TABLE wp_appointments (
    id mediumint(9) NOT NULL AUTO_INCREMENT,
    name varchar(30) NOT NULL,
    email varchar(40) NOT NULL,
    appointment_date datetime NOT NULL,
    status varchar(20) NOT NULL,
    employee_id mediumint(9) NOT NULL,
    PRIMARY KEY  (id)
) DEFAULT CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci;
