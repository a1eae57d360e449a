//! MySQL or MariaDB: the store that remembers. Selections stand in WordPress' transients, locks in a table of their own.
