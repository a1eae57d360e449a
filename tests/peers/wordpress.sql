-- The database of a site and its user. An anonymous account would be taken for the user on connections from this machine.
DROP USER IF EXISTS ''@'localhost';
CREATE DATABASE site CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci;
CREATE USER 'app'@'%' IDENTIFIED BY 'app';
GRANT ALL PRIVILEGES ON site.* TO 'app'@'%';
